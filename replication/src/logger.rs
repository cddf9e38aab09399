//! raft-rs speaks through slog; everything here speaks through tracing. This is the bridge.

use std::fmt::Write;

use slog::{Drain, Key, Level, Logger, Never, OwnedKVList, Record, Serializer};

/// A logger for raft-rs. Its information is our debugging: an election is a dozen lines of it.
pub(crate) fn logger() -> Logger {
    Logger::root(Bridge, slog::o!())
}

struct Bridge;

/// Fields as ` key=value` behind the message.
struct Fields(String);

impl Serializer for Fields {
    fn emit_arguments(&mut self, key: Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
        Ok(write!(self.0, " {key}={value}")?)
    }
}

macro_rules! emit {
    ($level:ident, $record:expr, $values:expr) => {
        if tracing::enabled!(target: "raft", tracing::Level::$level) {
            let line = line($record, $values);
            tracing::event!(target: "raft", tracing::Level::$level, "{line}");
        }
    };
}

fn line(record: &Record<'_>, values: &OwnedKVList) -> String {
    let mut fields = Fields(record.msg().to_string());
    // What cannot be formatted is left out; there is nobody to tell.
    let _ = slog::KV::serialize(&record.kv(), record, &mut fields);
    let _ = slog::KV::serialize(values, record, &mut fields);
    fields.0
}

impl Drain for Bridge {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        match record.level() {
            Level::Critical | Level::Error => emit!(ERROR, record, values),
            Level::Warning => emit!(WARN, record, values),
            Level::Info => emit!(DEBUG, record, values),
            Level::Debug | Level::Trace => emit!(TRACE, record, values),
        }
        Ok(())
    }
}
