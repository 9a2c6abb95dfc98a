//! Recordings: NDJSON events or position CSV, plain or gzip, read as a stream of events in time order.

use crate::clock::Time;
use crate::error::{Error, Result};
use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Seek as _};
use std::path::Path;

/// The event type of an aircraft's position.
pub(crate) const POSITION: &str = "aircraft.position";

/// One recorded event, in the shape of `POST /v1/events`.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    /// When it happened, in the recording's own time.
    pub(crate) at_ms: i64,
    /// The thing it is about, by key, when it is about one.
    pub(crate) thing: Option<String>,
    /// The event without its time: `id, type, subject, properties, location`.
    pub(crate) event: Map<String, Value>,
}

impl Recorded {
    /// The event as it is sent, its time moved by `shift_ms`.
    pub(crate) fn shifted(&self, shift_ms: i64) -> Value {
        let mut event = self.event.clone();
        event.insert("occurred_at".into(), json!(Time(self.at_ms + shift_ms)));
        Value::Object(event)
    }
}

/// Reads a whole recording; the demo's and the examples' fit in memory many times over.
///
/// # Errors
/// When the file cannot be read or a line makes no sense; the line is named.
pub(crate) fn read_file(path: &Path) -> Result<Vec<Recorded>> {
    let mut file = File::open(path).map_err(|e| Error::broken(format!("cannot open {}: {e}", path.display())))?;
    let mut magic = [0; 2];
    let gzip = file.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    file.rewind().map_err(Error::broken)?;
    let stem =
        path.file_name().and_then(|n| n.to_str()).unwrap_or("recording").split('.').next().unwrap_or("recording").to_owned();
    let reader: Box<dyn Read> = if gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    read(reader, &stem)
}

/// Reads a recording from a stream; `name` goes into the ids of position events.
///
/// # Errors
/// When a line makes no sense; the line is named.
pub(crate) fn read(reader: impl Read, name: &str) -> Result<Vec<Recorded>> {
    let mut reader = BufReader::new(reader);
    let first = reader.fill_buf().map_err(|e| Error::broken(format!("cannot read {name}: {e}")))?.first().copied();
    let mut events = if first == Some(b'{') { read_ndjson(reader, name)? } else { read_positions(reader, name)? };
    events.sort_by_key(|e| e.at_ms);
    Ok(events)
}

/// The keys of all things in a recording, sorted.
pub(crate) fn things(events: &[Recorded]) -> BTreeSet<String> {
    events.iter().filter_map(|e| e.thing.clone()).collect()
}

#[derive(serde::Deserialize)]
struct Position {
    ts_ms: i64,
    icao24: String,
    callsign: Option<String>,
    lat: Option<f64>,
    lon: Option<f64>,
    altitude_ft: Option<f64>,
    groundspeed_kt: Option<f64>,
    on_ground: Option<u8>,
    vertical_rate_fpm: Option<f64>,
}

fn read_positions(reader: impl Read, name: &str) -> Result<Vec<Recorded>> {
    let mut rows = csv::Reader::from_reader(reader);
    let mut events = Vec::new();
    for (n, row) in rows.deserialize::<Position>().enumerate() {
        let line = n + 2;
        let row = row.map_err(|e| Error::broken(format!("{name}, line {line}: {e}")))?;
        events.push(row.into_event(name, line));
    }
    Ok(events)
}

impl Position {
    /// A blank is a missing value, and a missing value is no property.
    fn into_event(self, name: &str, line: usize) -> Recorded {
        let mut properties = Map::new();
        let mut put = |key: &str, value: Option<Value>| value.map(|v| properties.insert(key.to_owned(), v));
        put("callsign", self.callsign.filter(|c| !c.is_empty()).map(Value::from));
        put("altitude_ft", self.altitude_ft.map(Value::from));
        put("groundspeed_kt", self.groundspeed_kt.map(Value::from));
        put("vertical_rate_fpm", self.vertical_rate_fpm.map(Value::from));
        put("on_ground", self.on_ground.map(|g| Value::from(g == 1)));
        let mut event = Map::new();
        event.insert("id".into(), json!(format!("{name}-{line}")));
        event.insert("type".into(), json!(POSITION));
        event.insert("subject".into(), json!(format!("thing:{}", self.icao24)));
        event.insert("properties".into(), Value::Object(properties));
        if let (Some(lat), Some(lon)) = (self.lat, self.lon) {
            event.insert("location".into(), json!({ "lat": lat, "lon": lon }));
        }
        Recorded { at_ms: self.ts_ms, thing: Some(self.icao24), event }
    }
}

fn read_ndjson(reader: impl std::io::BufRead, name: &str) -> Result<Vec<Recorded>> {
    let mut events = Vec::new();
    for (n, line) in reader.lines().enumerate() {
        let at = |what: &dyn std::fmt::Display| Error::broken(format!("{name}, line {}: {what}", n + 1));
        let line = line.map_err(|e| at(&e))?;
        if line.trim().is_empty() {
            continue;
        }
        let mut event: Map<String, Value> = serde_json::from_str(&line).map_err(|e| at(&e))?;
        let time = event.remove("occurred_at").and_then(|t| t.as_str().map(Time::parse));
        let time = time.ok_or_else(|| at(&"`occurred_at` is missing"))?.map_err(|e| at(&e))?;
        let thing = event.get("subject").and_then(Value::as_str).and_then(|s| s.strip_prefix("thing:")).map(str::to_owned);
        events.push(Recorded { at_ms: time.0, thing, event });
    }
    Ok(events)
}
