//! Tells a file's language by its name.
//!
//! `examples/agents/inspect_file.py` has the same tables; a test compares them entry by entry.

/// By the end of the name, in lower case.
pub(super) const BY_EXTENSION: &[(&str, &str)] = &[
    ("bash", "Shell"),
    ("c", "C"),
    ("cc", "C++"),
    ("cpp", "C++"),
    ("css", "CSS"),
    ("go", "Go"),
    ("h", "C"),
    ("hpp", "C++"),
    ("htm", "HTML"),
    ("html", "HTML"),
    ("java", "Java"),
    ("js", "JavaScript"),
    ("json", "JSON"),
    ("kt", "Kotlin"),
    ("lock", "Lock file"),
    ("md", "Markdown"),
    ("mjs", "JavaScript"),
    ("proto", "Protobuf"),
    ("py", "Python"),
    ("rb", "Ruby"),
    ("rs", "Rust"),
    ("rst", "reStructuredText"),
    ("sh", "Shell"),
    ("sql", "SQL"),
    ("svg", "SVG"),
    ("swift", "Swift"),
    ("toml", "TOML"),
    ("ts", "TypeScript"),
    ("tsx", "TypeScript"),
    ("txt", "Text"),
    ("xml", "XML"),
    ("yaml", "YAML"),
    ("yml", "YAML"),
];

/// By the whole name.
pub(super) const BY_NAME: &[(&str, &str)] = &[
    ("Dockerfile", "Dockerfile"),
    ("LICENSE", "Text"),
    ("Makefile", "Makefile"),
    ("README", "Text"),
];

/// What is in neither table.
pub(super) const OTHER: &str = "other";

/// The language of a file of this name.
pub(super) fn of(name: &[u8]) -> &'static str {
    if let Some((_, language)) = BY_NAME.iter().find(|(known, _)| known.as_bytes() == name) {
        return language;
    }
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0);
    let extension = dot.and_then(|dot| name.get(dot + 1..)).unwrap_or_default();
    BY_EXTENSION
        .iter()
        .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(extension))
        .map_or(OTHER, |(_, language)| language)
}
