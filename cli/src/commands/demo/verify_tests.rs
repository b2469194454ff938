//! Whatever is tampered with is found, and nothing else.

use super::*;

fn truth() -> SurveyOutput {
    let files = [("a.rs", "x TODO\n"), ("b.md", "one\ntwo"), ("c.md", "one\ntwo")];
    let facts = files.iter().map(|(path, text)| inspect::facts(Path::new(path), text.as_bytes()));
    SurveyOutput {
        report: fold::fold(facts.collect(), Vec::new()),
        skipped: crate::demo_agents::walk::Skipped::default(),
    }
}

fn refold(output: &mut SurveyOutput) {
    output.report = fold::fold(output.report.files.clone(), output.report.trouble.clone());
}

#[test]
fn the_same_is_the_same_whoever_found_it() {
    let mut mesh = truth();
    mesh.report.files[1].by = "python".to_owned();
    assert_eq!(compare(&mesh, &truth(), &truth()), Verdict::default());
}

#[test]
fn a_file_that_was_tampered_with_is_found_although_the_sums_fit() {
    type Tamper = fn(&mut Vec<FileFacts>);
    let table: [(Tamper, &str); 9] = [
        (|files| files[0].lines += 1, "a.rs: lines: the mesh says 2, the walk 1"),
        (|files| files[0].words = 0, "a.rs: words: the mesh says 0, the walk 2"),
        (|files| files[0].bytes += 1, "a.rs: bytes"),
        (|files| files[0].todos = 0, "a.rs: TODOs"),
        (|files| files[2].sha256 = "0".to_owned(), "c.md: SHA-256"),
        (|files| files[0].language = "C".to_owned(), "a.rs: language"),
        (|files| drop(files.pop()), "c.md: the mesh has nothing"),
        (|files| files.push(files[0].clone()), "reported twice"),
        (
            |files| files.push(FileFacts { path: "z".to_owned(), ..files[0].clone() }),
            "z: the walk does not know it",
        ),
    ];
    for (tamper, expected) in table {
        let mut mesh = truth();
        tamper(&mut mesh.report.files);
        refold(&mut mesh);
        let verdict = compare(&mesh, &truth(), &truth());
        assert_eq!(verdict.differences.len(), 1, "{expected}: {verdict:?}");
        assert!(verdict.differences[0].contains(expected), "{verdict:?}");
    }
}

#[test]
fn a_sum_that_was_tampered_with_is_found_although_the_files_fit() {
    type Tamper = fn(&mut SurveyOutput);
    let table: [(Tamper, &str); 4] = [
        (|mesh| mesh.report.total.words += 1, "sums"),
        (|mesh| mesh.report.languages[0].files += 1, "sums"),
        (|mesh| mesh.report.duplicates.clear(), "sums"),
        (|mesh| mesh.skipped.binary += 1, "left out"),
    ];
    for (tamper, expected) in table {
        let mut mesh = truth();
        tamper(&mut mesh);
        let verdict = compare(&mesh, &truth(), &truth());
        assert_eq!(verdict.differences.len(), 1, "{expected}: {verdict:?}");
        assert!(verdict.differences[0].contains(expected), "{verdict:?}");
    }
}

#[test]
fn a_file_that_could_not_be_inspected_but_is_there_is_a_difference() {
    let mut mesh = truth();
    let facts = mesh.report.files.remove(0);
    mesh.report.trouble.push(Trouble { path: facts.path, error: "broken".to_owned() });
    refold(&mut mesh);
    let verdict = compare(&mesh, &truth(), &truth());
    assert_eq!(verdict.differences, ["a.rs: the mesh has nothing about it (broken)"]);
}

#[test]
fn a_file_that_somebody_changed_meanwhile_is_not_judged() {
    let mut after = truth();
    after.report.files[0] = inspect::facts(Path::new("a.rs"), b"changed");
    after.report.files.pop();
    refold(&mut after);
    let mut mesh = truth();
    mesh.report.files[0].lines = 7;
    refold(&mut mesh);
    let verdict = compare(&mesh, &truth(), &after);
    assert_eq!(verdict.changed, ["a.rs", "c.md"]);
    assert_eq!(verdict.differences, [""; 0]);
}
