//! The tables as diesel sees them; the same names, types and order as in `migrations/`.
#![expect(missing_docs, reason = "the migrations say what each table and column is for")]

diesel::table! {
    apps (id) {
        id -> Text,
        name -> Text,
        settings -> Text,
        revision -> BigInt,
        created_ms -> BigInt,
    }
}

diesel::table! {
    api_keys (app_id, id) {
        app_id -> Text,
        id -> Text,
        kind -> Text,
        mode -> Text,
        name -> Text,
        partner_id -> Nullable<Text>,
        scopes -> Text,
        prefix -> Text,
        secret_hash -> Text,
        created_ms -> BigInt,
        expires_ms -> Nullable<BigInt>,
        last_used_ms -> Nullable<BigInt>,
        revoked_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    signing_keys (kid) {
        kid -> Text,
        sealed -> Binary,
        public_jwk -> Text,
        created_ms -> BigInt,
        retired_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    epochs (app_id, scope, key) {
        app_id -> Text,
        scope -> Text,
        key -> Text,
        value -> BigInt,
    }
}

diesel::table! {
    users (app_id, id) {
        app_id -> Text,
        id -> Text,
        external_id -> Nullable<Text>,
        anonymous -> Bool,
        attributes -> Text,
        locale -> Nullable<Text>,
        time_zone -> Nullable<Text>,
        zone -> Text,
        disabled -> Bool,
        revision -> BigInt,
        created_ms -> BigInt,
        updated_ms -> BigInt,
        leaving_ms -> Nullable<BigInt>,
        claims -> Nullable<Text>,
    }
}

diesel::table! {
    passwords (app_id, user_id) {
        app_id -> Text,
        user_id -> Text,
        email -> Text,
        password_hash -> Text,
        changed_ms -> BigInt,
    }
}

diesel::table! {
    sessions (app_id, id) {
        app_id -> Text,
        id -> Text,
        user_id -> Text,
        mode -> Text,
        generation -> BigInt,
        generation_ms -> BigInt,
        name -> Nullable<Text>,
        user_agent -> Nullable<Text>,
        amr -> Text,
        auth_ms -> BigInt,
        created_ms -> BigInt,
        last_used_ms -> BigInt,
        ended_ms -> Nullable<BigInt>,
        end_reason -> Nullable<Text>,
        actor -> Nullable<Text>,
    }
}

diesel::table! {
    emails (app_id, email) {
        app_id -> Text,
        email -> Text,
        user_id -> Text,
        verified_ms -> BigInt,
    }
}

diesel::table! {
    challenges (app_id, id) {
        app_id -> Text,
        id -> Text,
        kind -> Text,
        user_id -> Nullable<Text>,
        email -> Nullable<Text>,
        mode -> Text,
        token_hash -> Text,
        code_hash -> Text,
        tries -> BigInt,
        state -> Text,
        created_ms -> BigInt,
        expires_ms -> BigInt,
        used_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    identity_providers (app_id, name) {
        app_id -> Text,
        name -> Text,
        settings -> Text,
        sealed -> Nullable<Binary>,
        updated_ms -> BigInt,
    }
}

diesel::table! {
    identities (app_id, id) {
        app_id -> Text,
        id -> Text,
        user_id -> Text,
        provider -> Text,
        issuer -> Text,
        subject -> Text,
        client_id -> Text,
        email -> Nullable<Text>,
        email_is_private -> Bool,
        email_reachable -> Bool,
        email_ms -> BigInt,
        refresh_sealed -> Nullable<Binary>,
        created_ms -> BigInt,
        last_used_ms -> BigInt,
        revoked_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    identity_revocations (app_id, identity_id) {
        app_id -> Text,
        identity_id -> Text,
        client_id -> Text,
        refresh_sealed -> Binary,
        attempts -> BigInt,
        due_ms -> BigInt,
    }
}

diesel::table! {
    identity_notices (app_id, jti) {
        app_id -> Text,
        jti -> Text,
        received_ms -> BigInt,
    }
}

diesel::table! {
    attributes (app_id, scope, key) {
        app_id -> Text,
        scope -> Text,
        key -> Text,
        kind -> Text,
        settle_ms -> Nullable<BigInt>,
        created_ms -> BigInt,
        name -> Nullable<Text>,
        pii -> Bool,
        purpose -> Nullable<Text>,
        writers -> Text,
        question -> Nullable<Text>,
        options -> Nullable<Text>,
    }
}

diesel::table! {
    questions (app_id, user_id, attribute) {
        app_id -> Text,
        user_id -> Text,
        attribute -> Text,
        asked_ms -> BigInt,
        open -> Bool,
        skips -> BigInt,
        skipped_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    purposes (app_id, key) {
        app_id -> Text,
        key -> Text,
        name -> Text,
        basis -> Text,
        created_ms -> BigInt,
        categories -> Text,
        personal_data -> Text,
        sale_or_share -> Bool,
    }
}

diesel::table! {
    purpose_versions (app_id, purpose, version) {
        app_id -> Text,
        purpose -> Text,
        version -> Text,
        texts -> Text,
        re_ask -> Bool,
        published_ms -> BigInt,
        valid_ms -> Nullable<BigInt>,
        jurisdictions -> Text,
    }
}

diesel::table! {
    topics (app_id, key) {
        app_id -> Text,
        key -> Text,
        name -> Text,
        default_on -> Bool,
        critical -> Bool,
        created_ms -> BigInt,
    }
}

diesel::table! {
    consents (app_id, id) {
        app_id -> Text,
        id -> Text,
        user_id -> Text,
        seq -> BigInt,
        purpose -> Text,
        channel -> Nullable<Text>,
        partner_id -> Nullable<Text>,
        granted -> Bool,
        text_version -> Nullable<Text>,
        evidence -> Text,
        source -> Text,
        at_ms -> BigInt,
        language -> Nullable<Text>,
        notice_hash -> Nullable<Text>,
        jurisdiction -> Nullable<Text>,
        expires_ms -> Nullable<BigInt>,
        guardian -> Bool,
    }
}

diesel::table! {
    ages (app_id, user_id) {
        app_id -> Text,
        user_id -> Text,
        jurisdiction -> Nullable<Text>,
        minimum_years -> BigInt,
        of_age_ms -> BigInt,
        stated_ms -> BigInt,
        source -> Text,
    }
}

diesel::table! {
    preferences (app_id, user_id) {
        app_id -> Text,
        user_id -> Text,
        topics -> Text,
        channels -> Text,
        quiet_hours -> Nullable<Text>,
        frequency -> Nullable<Text>,
        pause_until_ms -> Nullable<BigInt>,
        revision -> BigInt,
    }
}

diesel::table! {
    devices (app_id, id) {
        app_id -> Text,
        id -> Text,
        installation_id -> Text,
        user_id -> Nullable<Text>,
        platform -> Text,
        token -> Nullable<Text>,
        environment -> Text,
        topic -> Nullable<Text>,
        locale -> Nullable<Text>,
        time_zone -> Nullable<Text>,
        push_permission -> Text,
        app_version -> Nullable<Text>,
        token_ms -> Nullable<BigInt>,
        session_id -> Nullable<Text>,
        last_seen_ms -> BigInt,
        created_ms -> BigInt,
        badge -> BigInt,
        web_keys -> Nullable<Text>,
    }
}

diesel::table! {
    event_types (app_id, type_) {
        app_id -> Text,
        #[sql_name = "type"]
        type_ -> Text,
        json_schema -> Nullable<Text>,
        max_useful_age_ms -> Nullable<BigInt>,
        listened -> Bool,
        created_ms -> BigInt,
        updated_ms -> BigInt,
    }
}

diesel::table! {
    things (app_id, id) {
        app_id -> Text,
        id -> Text,
        key -> Text,
        class -> Nullable<Text>,
        properties -> Text,
        held -> Text,
        seen_ms -> Nullable<BigInt>,
        created_ms -> BigInt,
    }
}

diesel::table! {
    links (app_id, id) {
        app_id -> Text,
        id -> Text,
        thing_id -> Text,
        user_id -> Text,
        partner_id -> Nullable<Text>,
        kind -> Text,
        starts_ms -> Nullable<BigInt>,
        ends_ms -> Nullable<BigInt>,
        created_ms -> BigInt,
    }
}

diesel::table! {
    events (app_id, id) {
        app_id -> Text,
        id -> Text,
        source -> Text,
        external_id -> Text,
        #[sql_name = "type"]
        type_ -> Text,
        occurred_ms -> BigInt,
        received_ms -> BigInt,
        subject -> Nullable<Text>,
        user_id -> Nullable<Text>,
        thing_id -> Nullable<Text>,
        device_id -> Nullable<Text>,
        partner_id -> Nullable<Text>,
        place_id -> Nullable<Text>,
        cause_id -> Nullable<Text>,
        properties -> Text,
        lat -> Nullable<Double>,
        lon -> Nullable<Double>,
        accuracy_m -> Nullable<Double>,
        content_hash -> Text,
        test -> Bool,
        disposition -> Nullable<Text>,
        decision_ids -> Nullable<Text>,
        settled_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    event_counts (app_id, source, disposition) {
        app_id -> Text,
        source -> Text,
        disposition -> Text,
        n -> BigInt,
    }
}

diesel::table! {
    lane_work (id) {
        id -> Text,
        app_id -> Text,
        lane -> BigInt,
        user_id -> Text,
        event_id -> Text,
        link_partner_id -> Nullable<Text>,
    }
}

diesel::table! {
    places (app_id, id) {
        app_id -> Text,
        id -> Text,
        key -> Nullable<Text>,
        name -> Text,
        kind -> Text,
        lat -> Nullable<Double>,
        lon -> Nullable<Double>,
        radius_m -> Nullable<Double>,
        geometry -> Nullable<Text>,
        tags -> Text,
        opening_hours -> Nullable<Text>,
        dwell_ms -> BigInt,
        stale_after_ms -> BigInt,
        revision -> BigInt,
        shaped_ms -> BigInt,
        created_ms -> BigInt,
    }
}

diesel::table! {
    positions (app_id, subject_id) {
        app_id -> Text,
        subject_id -> Text,
        user_id -> Nullable<Text>,
        at_ms -> BigInt,
        lat -> Nullable<Double>,
        lon -> Nullable<Double>,
        accuracy_m -> Nullable<Double>,
        sights -> Text,
    }
}

diesel::table! {
    place_changes (app_id, revision, place_id) {
        app_id -> Text,
        revision -> BigInt,
        place_id -> Text,
    }
}

diesel::table! {
    place_revisions (app_id) {
        app_id -> Text,
        revision -> BigInt,
    }
}

diesel::table! {
    place_states (app_id, subject_id, place_id) {
        app_id -> Text,
        subject_id -> Text,
        place_id -> Text,
        user_id -> Nullable<Text>,
        partner_id -> Nullable<Text>,
        state -> Text,
        due_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    partners (app_id, id) {
        app_id -> Text,
        id -> Text,
        name -> Text,
        created_ms -> BigInt,
    }
}

diesel::table! {
    moment_kinds (app_id, key) {
        app_id -> Text,
        key -> Text,
        spec -> Text,
        revision -> BigInt,
        created_ms -> BigInt,
        updated_ms -> BigInt,
    }
}

diesel::table! {
    offers (app_id, id) {
        app_id -> Text,
        id -> Text,
        partner_id -> Nullable<Text>,
        name -> Text,
        spec -> Text,
        stock -> Nullable<BigInt>,
        stock_reserved -> BigInt,
        archived -> Bool,
        revision -> BigInt,
        created_ms -> BigInt,
        updated_ms -> BigInt,
    }
}

diesel::table! {
    catalogues (app_id) {
        app_id -> Text,
        revision -> BigInt,
    }
}

diesel::table! {
    campaigns (app_id, id) {
        app_id -> Text,
        id -> Text,
        name -> Text,
        status -> Text,
        spec -> Text,
        revision -> BigInt,
        created_ms -> BigInt,
        updated_ms -> BigInt,
    }
}

diesel::table! {
    campaign_runs (app_id, campaign_id, zone) {
        app_id -> Text,
        campaign_id -> Text,
        zone -> Text,
        due_ms -> BigInt,
        cursor_user_id -> Nullable<Text>,
        state -> Text,
        visited -> BigInt,
    }
}

diesel::table! {
    moments (app_id, id) {
        app_id -> Text,
        id -> Text,
        user_id -> Text,
        kind -> Text,
        key -> Text,
        event_id -> Text,
        opened_ms -> BigInt,
        closes_ms -> BigInt,
        test -> Bool,
        context -> Text,
        recall_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    decisions (app_id, id) {
        app_id -> Text,
        id -> Text,
        user_id -> Text,
        event_id -> Nullable<Text>,
        moment_id -> Nullable<Text>,
        campaign_id -> Nullable<Text>,
        outcome -> Text,
        reason -> Nullable<Text>,
        candidates -> Text,
        choices -> Text,
        input -> Binary,
        predicted_latency_ms -> BigInt,
        hops -> Text,
        decided_ms -> BigInt,
        test -> Bool,
    }
}

diesel::table! {
    versions (app_id, id, revision) {
        app_id -> Text,
        id -> Text,
        revision -> BigInt,
        spec -> Text,
    }
}

diesel::table! {
    choices (app_id, id) {
        app_id -> Text,
        id -> Text,
        decision_id -> Text,
        user_id -> Text,
        campaign_id -> Text,
        offer_id -> Text,
        category -> Nullable<Text>,
        critical -> Bool,
        state -> Text,
        planned_ms -> BigInt,
        counts -> Bool,
        release_input -> Nullable<Binary>,
        release -> Nullable<Text>,
    }
}

diesel::table! {
    push_credentials (app_id, gateway, environment, key_id) {
        app_id -> Text,
        gateway -> Text,
        environment -> Text,
        key_id -> Text,
        public -> Text,
        sealed -> Binary,
        revision -> BigInt,
        updated_ms -> BigInt,
        proven_ms -> Nullable<BigInt>,
        refused_ms -> Nullable<BigInt>,
        refused_reason -> Nullable<Text>,
    }
}

diesel::table! {
    message_bodies (n) {
        n -> BigInt,
        app_id -> Text,
        id -> Text,
        decision_id -> Text,
        choice_id -> Text,
        user_id -> Text,
        device_id -> Text,
        campaign_id -> Text,
        offer_id -> Text,
        platform -> Text,
        token -> Text,
        environment -> Text,
        test -> Bool,
        payload -> Text,
        head -> Nullable<Text>,
        collapse_id -> Text,
        mode -> Text,
        consent -> Text,
        consent_epoch -> BigInt,
        app_consent_epoch -> BigInt,
        created_ms -> BigInt,
        activity_id -> Text,
        recalls -> Text,
        recalled_ms -> Nullable<BigInt>,
        inbox_until_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    message_states (n) {
        n -> BigInt,
        app_id -> Text,
        route -> Text,
        topic -> Nullable<Text>,
        state -> Text,
        reason -> Nullable<Text>,
        stop_reason -> Nullable<Text>,
        attempt -> BigInt,
        attempts -> Text,
        due_ms -> BigInt,
        deadline_ms -> BigInt,
        consent_until_ms -> Nullable<BigInt>,
        sending_ms -> Nullable<BigInt>,
        ended_ms -> Nullable<BigInt>,
        settled -> Bool,
        perhaps -> Bool,
    }
}

diesel::table! {
    /// The view of both: to be read, never to be written.
    messages (app_id, id) {
        n -> BigInt,
        app_id -> Text,
        id -> Text,
        decision_id -> Text,
        choice_id -> Text,
        user_id -> Text,
        device_id -> Text,
        campaign_id -> Text,
        offer_id -> Text,
        platform -> Text,
        token -> Text,
        environment -> Text,
        topic -> Nullable<Text>,
        test -> Bool,
        route -> Text,
        payload -> Text,
        head -> Nullable<Text>,
        collapse_id -> Text,
        mode -> Text,
        consent -> Text,
        consent_epoch -> BigInt,
        app_consent_epoch -> BigInt,
        state -> Text,
        reason -> Nullable<Text>,
        stop_reason -> Nullable<Text>,
        attempt -> BigInt,
        attempts -> Text,
        due_ms -> BigInt,
        deadline_ms -> BigInt,
        created_ms -> BigInt,
        sending_ms -> Nullable<BigInt>,
        ended_ms -> Nullable<BigInt>,
        settled -> Bool,
        consent_until_ms -> Nullable<BigInt>,
        activity_id -> Text,
        recalls -> Text,
        recalled_ms -> Nullable<BigInt>,
        inbox_until_ms -> Nullable<BigInt>,
        perhaps -> Bool,
    }
}

diesel::table! {
    receipts (app_id, message_id, kind) {
        app_id -> Text,
        message_id -> Text,
        kind -> Text,
        at_ms -> BigInt,
        received_ms -> BigInt,
        action -> Nullable<Text>,
    }
}

diesel::table! {
    inbox (app_id, choice_id) {
        app_id -> Text,
        choice_id -> Text,
        user_id -> Text,
        read_ms -> Nullable<BigInt>,
        archived_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    campaign_recalls (app_id, campaign_id) {
        app_id -> Text,
        campaign_id -> Text,
        cursor_id -> Text,
        end_id -> Text,
        recalled -> BigInt,
        asked_ms -> BigInt,
        done_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    mails (app_id, id) {
        app_id -> Text,
        id -> Text,
        user_id -> Nullable<Text>,
        recipient -> Text,
        notice -> Bool,
        template -> Text,
        locale -> Text,
        state -> Text,
        reason -> Nullable<Text>,
        sealed -> Nullable<Binary>,
        attempts -> BigInt,
        due_ms -> BigInt,
        useful_until_ms -> BigInt,
        created_ms -> BigInt,
        ended_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    mail_templates (app_id, template, locale) {
        app_id -> Text,
        template -> Text,
        locale -> Text,
        subject -> Text,
        body -> Text,
        created_ms -> BigInt,
        updated_ms -> BigInt,
    }
}

diesel::table! {
    erasures (app_id, id) {
        app_id -> Text,
        id -> Text,
        user_id -> Nullable<Text>,
        asked_by -> Text,
        asked_ms -> BigInt,
        due_ms -> BigInt,
        state -> Text,
        began_ms -> Nullable<BigInt>,
        ended_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    tombstones (app_id, hash) {
        app_id -> Text,
        hash -> Text,
        erased_ms -> BigInt,
    }
}

diesel::table! {
    merges (app_id, from_id) {
        app_id -> Text,
        from_id -> Text,
        into_id -> Text,
        asked_ms -> BigInt,
        began_ms -> Nullable<BigInt>,
        ended_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    operators (id) {
        id -> Text,
        email -> Text,
        name -> Text,
        password_hash -> Nullable<Text>,
        invite_hash -> Nullable<Text>,
        invite_expires_ms -> Nullable<BigInt>,
        enrol_hash -> Nullable<Text>,
        enrol_sealed -> Nullable<Binary>,
        enrol_expires_ms -> Nullable<BigInt>,
        totp_sealed -> Nullable<Binary>,
        totp_step -> BigInt,
        created_ms -> BigInt,
        disabled_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    operator_roles (app_id, operator_id) {
        app_id -> Text,
        operator_id -> Text,
        role -> Text,
        disabled -> Bool,
        created_ms -> BigInt,
    }
}

diesel::table! {
    operator_sessions (token_hash) {
        token_hash -> Text,
        operator_id -> Text,
        created_ms -> BigInt,
        last_used_ms -> BigInt,
        expires_ms -> BigInt,
    }
}

diesel::table! {
    operator_recovery_codes (operator_id, code_hash) {
        operator_id -> Text,
        code_hash -> Text,
        used_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    operator_attempts (who) {
        who -> Text,
        failures -> BigInt,
        last_ms -> BigInt,
        until_ms -> BigInt,
    }
}

diesel::table! {
    audit (app_id, seq) {
        app_id -> Text,
        seq -> BigInt,
        at_ms -> BigInt,
        actor -> Text,
        action -> Text,
        objects -> Text,
        fields -> Text,
        details -> Text,
        request_id -> Nullable<Text>,
        hash -> Text,
    }
}

diesel::table! {
    totps (app_id, user_id) {
        app_id -> Text,
        user_id -> Text,
        sealed -> Binary,
        last_step -> BigInt,
        created_ms -> BigInt,
    }
}

diesel::table! {
    recovery_codes (app_id, user_id, code_hash) {
        app_id -> Text,
        user_id -> Text,
        code_hash -> Text,
        created_ms -> BigInt,
        used_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    passkeys (app_id, id) {
        app_id -> Text,
        id -> Text,
        user_id -> Text,
        handle -> Text,
        credential_id -> Text,
        credential -> Text,
        counter -> BigInt,
        backed_up -> Bool,
        transports -> Text,
        name -> Text,
        second_factor -> Bool,
        created_ms -> BigInt,
        last_used_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    webhooks (app_id, id) {
        app_id -> Text,
        id -> Text,
        partner_id -> Text,
        url -> Text,
        description -> Text,
        event_types -> Text,
        enabled -> Bool,
        disabled_reason -> Nullable<Text>,
        disabled_ms -> Nullable<BigInt>,
        secret -> Binary,
        secret_ms -> BigInt,
        old_secret -> Nullable<Binary>,
        old_secret_until_ms -> Nullable<BigInt>,
        failing_since_ms -> Nullable<BigInt>,
        throttled_until_ms -> Nullable<BigInt>,
        created_ms -> BigInt,
        updated_ms -> BigInt,
        results -> Bool,
    }
}

diesel::table! {
    webhook_deliveries (app_id, id) {
        app_id -> Text,
        id -> Text,
        webhook_id -> Text,
        user_id -> Nullable<Text>,
        event_type -> Text,
        body -> Text,
        state -> Text,
        reason -> Nullable<Text>,
        claims -> BigInt,
        tries -> BigInt,
        attempts -> Text,
        due_ms -> BigInt,
        created_ms -> BigInt,
        ended_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    foreign_passwords (app_id, user_id) {
        app_id -> Text,
        user_id -> Text,
        email -> Text,
        place -> Text,
        sealed -> Nullable<Binary>,
        created_ms -> BigInt,
    }
}

diesel::table! {
    imports (app_id, id) {
        app_id -> Text,
        id -> Text,
        kind -> Text,
        state -> Text,
        key_hash -> Nullable<Text>,
        body_hash -> Text,
        lines -> BigInt,
        done -> BigInt,
        created -> BigInt,
        updated -> BigInt,
        failed -> BigInt,
        errors -> Text,
        created_ms -> BigInt,
        worked_ms -> BigInt,
        finished_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    import_chunks (app_id, import_id, seq) {
        app_id -> Text,
        import_id -> Text,
        seq -> BigInt,
        first_line -> BigInt,
        lines -> BigInt,
        lines_sealed -> Binary,
    }
}

diesel::table! {
    start_tokens (app_id, device_id, attributes_type) {
        app_id -> Text,
        device_id -> Text,
        attributes_type -> Text,
        user_id -> Text,
        token -> Text,
        token_ms -> BigInt,
    }
}

diesel::table! {
    activities (app_id, id) {
        app_id -> Text,
        id -> Text,
        attributes_type -> Text,
        test -> Bool,
        spec -> Nullable<Text>,
        start -> Nullable<Text>,
        channel_id -> Nullable<Text>,
        timestamp_s -> BigInt,
        key_hash -> Nullable<Text>,
        body_hash -> Text,
        created_ms -> BigInt,
        over_ms -> BigInt,
        ended_ms -> Nullable<BigInt>,
        end_id -> Nullable<Text>,
        swept -> Bool,
    }
}

diesel::table! {
    activity_updates (app_id, id) {
        app_id -> Text,
        id -> Text,
        activity_id -> Text,
        event -> Text,
        key_hash -> Nullable<Text>,
        body_hash -> Text,
        created_ms -> BigInt,
    }
}

diesel::table! {
    activity_devices (app_id, activity_id, device_id) {
        app_id -> Text,
        activity_id -> Text,
        device_id -> Text,
        user_id -> Text,
        name -> Text,
        token -> Nullable<Text>,
        token_ms -> Nullable<BigInt>,
        created_ms -> BigInt,
        ended_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    channels (app_id, id) {
        app_id -> Text,
        id -> Text,
        key -> Text,
        gateway -> Text,
        attributes_type -> Nullable<Text>,
        topic -> Text,
        environment -> Text,
        test -> Bool,
        keeps_latest -> Bool,
        public -> Bool,
        state -> Text,
        name -> Nullable<Text>,
        timestamp_s -> BigInt,
        created_ms -> BigInt,
        updated_ms -> BigInt,
    }
}

diesel::table! {
    broadcasts (app_id, id) {
        app_id -> Text,
        id -> Text,
        channel_id -> Text,
        event -> Text,
        payload -> Text,
        priority -> BigInt,
        keep_until_ms -> BigInt,
        mode -> Text,
        state -> Text,
        reason -> Nullable<Text>,
        stop_reason -> Nullable<Text>,
        attempt -> BigInt,
        attempts -> Text,
        due_ms -> BigInt,
        deadline_ms -> BigInt,
        created_ms -> BigInt,
        sending_ms -> Nullable<BigInt>,
        ended_ms -> Nullable<BigInt>,
        key_hash -> Nullable<Text>,
        body_hash -> Text,
        perhaps -> Bool,
    }
}

diesel::table! {
    pushes (app_id, id) {
        app_id -> Text,
        id -> Text,
        name -> Nullable<Text>,
        state -> Text,
        test -> Bool,
        spec -> Text,
        unknown -> Text,
        key_hash -> Nullable<Text>,
        body_hash -> Text,
        visited -> BigInt,
        outside -> Text,
        settled -> Text,
        cursor_user_id -> Nullable<Text>,
        due_ms -> BigInt,
        created_ms -> BigInt,
        ended_ms -> Nullable<BigInt>,
    }
}

diesel::table! {
    push_runs (app_id, push_id, zone) {
        app_id -> Text,
        push_id -> Text,
        zone -> Text,
        due_ms -> BigInt,
        cursor_user_id -> Nullable<Text>,
        done -> Bool,
    }
}

diesel::table! {
    push_targets (app_id, push_id, user_id) {
        app_id -> Text,
        push_id -> Text,
        user_id -> Text,
        devices -> Nullable<Text>,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    apps,
    api_keys,
    signing_keys,
    epochs,
    users,
    passwords,
    sessions,
    emails,
    challenges,
    identity_providers,
    identities,
    identity_revocations,
    identity_notices,
    attributes,
    questions,
    purposes,
    purpose_versions,
    topics,
    consents,
    preferences,
    devices,
    event_types,
    things,
    links,
    events,
    event_counts,
    lane_work,
    places,
    place_changes,
    place_revisions,
    positions,
    place_states,
    partners,
    moment_kinds,
    offers,
    campaigns,
    campaign_runs,
    moments,
    decisions,
    versions,
    choices,
    push_credentials,
    message_bodies,
    message_states,
    messages,
    receipts,
    inbox,
    campaign_recalls,
    mails,
    mail_templates,
    erasures,
    tombstones,
    merges,
    operators,
    operator_roles,
    operator_sessions,
    operator_recovery_codes,
    operator_attempts,
    audit,
    totps,
    recovery_codes,
    passkeys,
    webhooks,
    webhook_deliveries,
    foreign_passwords,
    imports,
    import_chunks,
    start_tokens,
    activities,
    activity_updates,
    activity_devices,
    channels,
    broadcasts,
    pushes,
    push_runs,
    push_targets,
);
