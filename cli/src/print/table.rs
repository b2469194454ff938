//! Tables without borders: columns that line up, cut to the terminal's width, one line a row.

use comfy_table::{ContentArrangement, Row, Table, presets};
use protocol::Timestamp;

use super::{PrintError, Printer};

impl Printer {
    /// A table; `empty` stands where there are no rows.
    pub(crate) fn table(
        &mut self,
        header: &[&str],
        rows: Vec<Vec<String>>,
        empty: &str,
    ) -> Result<(), PrintError> {
        if rows.is_empty() {
            self.note(empty);
            return Ok(());
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(header.to_vec());
        if let Some(width) = self.width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        for row in rows {
            let mut row = Row::from(row.into_iter().map(|cell| one_line(&cell)));
            if self.width.is_some() {
                row.max_height(1);
            }
            table.add_row(row);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let text = table.trim_fmt();
        self.line(&text)
    }

    /// Facts about one thing, a line each; those without a value are left out.
    pub(crate) fn facts(&mut self, facts: &[(&str, Option<String>)]) -> Result<(), PrintError> {
        let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in facts {
            if let Some(value) = value {
                let value = value.replace('\n', &format!("\n{:width$}  ", ""));
                self.line(&format!("{name:width$}  {value}"))?;
            }
        }
        Ok(())
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r', '\t'], " ")
}

/// How long ago something was: `4s`, `3m12s`, `2h05m`, `3d04h`.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.since(at).as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, ..) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// A duration for people: `0s`, `200ms`, `1m 30s`.
pub(crate) fn span(wait: std::time::Duration) -> String {
    let (seconds, millis) = (wait.as_secs(), wait.subsec_millis());
    let (hours, minutes, rest) = (seconds / 3_600, seconds % 3_600 / 60, seconds % 60);
    let all = [(hours, "h"), (minutes, "m"), (rest, "s"), (millis.into(), "ms")];
    let some: Vec<_> = all
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if some.is_empty() { "0s".to_owned() } else { some.join(" ") }
}

/// The beginning of a text, on one line.
pub(crate) fn beginning(text: &str, chars_max: usize) -> String {
    let text = one_line(text);
    match text.char_indices().nth(chars_max) {
        None => text,
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
    }
}

/// Bytes for people: `17 B`, `1.5 KiB`, `8.0 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut unit = 1_u64;
    for name in ["B", "KiB", "MiB", "GiB", "TiB"] {
        let next = unit.saturating_mul(1024);
        if bytes < next || name == "TiB" {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            return match unit {
                1 => format!("{bytes} {name}"),
                _ => format!("{}.{} {name}", tenths / 10, tenths % 10),
            };
        }
        unit = next;
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (millis, text) in [
            (999, "0s"),
            (59_000, "59s"),
            (192_000, "3m12s"),
            (7_500_000, "2h05m"),
            (273_600_000, "3d04h"),
        ] {
            assert_eq!(ago(Timestamp::from_millis(0), Timestamp::from_millis(millis)), text);
        }
    }

    #[test]
    fn durations_are_read_by_people() {
        for (millis, text) in
            [(0, "0s"), (200, "200ms"), (90_500, "1m 30s 500ms"), (7_200_000, "2h")]
        {
            assert_eq!(span(std::time::Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn sizes_have_a_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (8 << 30, "8.0 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_beginning_is_cut_between_characters() {
        assert_eq!(beginning("a\nb", 3), "a b");
        assert_eq!(beginning("\u{fc}\u{fc}\u{fc}", 2), "\u{fc}\u{fc}...");
    }
}
