// The pages behind the links of mails. The token comes from the fragment, is taken out of the address at once, and is sent
// only when the reader presses the button.

const WORDS = {
  en: {
    "verify-email": ["Confirm your address", "Choose the password that your account is to have. Everything that was set before ends.", "Confirm"],
    "reset-password": ["Choose a new password", "You are then signed out everywhere, and sign in with the new one.", "Set password"],
    "sign-in": ["Sign in", "Open this link on the phone that has the app, or enter the code from the mail there."],
    "change-email": ["Your new address", "Open this link on the phone that has the app, or enter the code from the mail there."],
    password: "New password, at least 8 characters", show: "Show it", done: "Done. You can go back to the app.",
    missing: "This link is not complete: open it again from the mail, or copy it as a whole.",
    invalid_secret: "This link was used or is too old. Ask for a new one in the app.",
    too_short: "The password needs at least # characters.",
    too_common: "This password is easily guessed: choose another one, for example several words.",
    email_taken: "This address is another account's: sign in to that one.",
    busy: "Too many attempts. Wait a little, then try again.", failed: "That did not work: ",
  },
  de: {
    "verify-email": ["Adresse bestätigen", "Wähle das Passwort, das dein Konto haben soll. Alles, was vorher galt, endet.", "Bestätigen"],
    "reset-password": ["Neues Passwort wählen", "Danach bist du überall abgemeldet und meldest dich mit dem neuen an.", "Passwort setzen"],
    "sign-in": ["Anmelden", "Öffne diesen Link auf dem Telefon mit der App, oder gib dort den Code aus der Mail ein."],
    "change-email": ["Deine neue Adresse", "Öffne diesen Link auf dem Telefon mit der App, oder gib dort den Code aus der Mail ein."],
    password: "Neues Passwort, mindestens 8 Zeichen", show: "Anzeigen", done: "Fertig. Du kannst zurück zur App.",
    missing: "Der Link ist nicht vollständig: öffne ihn noch einmal aus der Mail, oder kopiere ihn ganz.",
    invalid_secret: "Der Link wurde schon benutzt oder ist zu alt. Fordere in der App einen neuen an.",
    too_short: "Das Passwort braucht mindestens # Zeichen.",
    too_common: "Dieses Passwort ist leicht zu erraten: nimm ein anderes, zum Beispiel mehrere Wörter.",
    email_taken: "Diese Adresse gehört zu einem anderen Konto: melde dich dort an.",
    busy: "Zu viele Versuche. Warte ein wenig und versuche es noch einmal.", failed: "Das ging nicht: ",
  },
};

const CALLS = { "verify-email": "/v1/auth/email/verify", "reset-password": "/v1/auth/password/reset" };

const language = navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => tag in WORDS) ?? "en";
const words = WORDS[language];
const page = location.pathname.split("/").pop();
const token = new URLSearchParams(location.hash.slice(1)).get("token");
history.replaceState(null, "", location.pathname);

const at = (id) => document.getElementById(id);
const say = (text, kind) => {
  at("status").textContent = text;
  at("status").dataset.kind = kind;
};

document.documentElement.lang = language;
const [title, text, button] = words[page];
document.title = title;
at("title").textContent = title;
at("text").textContent = text;
if (page in CALLS) {
  if (token) {
    at("label").textContent = words.password;
    at("show-label").textContent = words.show;
    at("go").textContent = button;
    at("form").hidden = false;
  } else {
    say(words.missing, "error");
  }
}

at("show").addEventListener("change", () => {
  at("password").type = at("show").checked ? "text" : "password";
});

at("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  at("go").disabled = true;
  try {
    const answer = await fetch(CALLS[page], {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token, new_password: at("password").value }),
    });
    if (answer.ok) {
      at("form").hidden = true;
      say(words.done, "done");
      return;
    }
    const problem = await answer.json();
    const wrong = problem.errors?.[0];
    const known = answer.status === 429 ? words.busy : words[wrong?.code ?? problem.code];
    // An app may want longer passwords than others: how long, its answer says.
    say(known?.replace("#", wrong?.message.match(/\d+/)) ?? words.failed + (wrong?.message ?? problem.detail), "error");
  } catch {
    say(words.failed, "error");
  }
  at("go").disabled = false;
});
