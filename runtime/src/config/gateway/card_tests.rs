//! What the sections of cards and of their signatures may say.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::Settings;

#[test]
fn cards_say_what_the_file_says() {
    let usual = Settings::without_file().gateway.card;
    assert_eq!(usual, CardSection::default());
    let text = r#"
        [gateway]
        url = "https://mesh.example"
        [gateway.card]
        name = "Ours"
        description = " "
        organization = "Example"
        organization_url = "https://example.org"
        max_age = "5m"
        extended = false
        [gateway.sign]
        key = "card.pem"
        kid = "k1"
    "#;
    let mut gateway = Settings::parse(text).unwrap().gateway;
    gateway.start_paths_at(Path::new("/etc/weft"));
    let card = gateway.card;
    assert_eq!((card.name.as_deref(), card.description), (Some("Ours"), None));
    assert_eq!(card.provider, Some(("Example".to_owned(), "https://example.org".to_owned())));
    assert_eq!((card.max_age, card.extended), (Duration::from_secs(300), false));
    let sign = card.sign.unwrap();
    assert_eq!((sign.key.as_path(), sign.kid.as_str()), (Path::new("/etc/weft/card.pem"), "k1"));
}

#[test]
fn faults_are_told_with_their_places() {
    for (text, fault) in [
        ("[gateway.card]\norganization = \"x\"", "gateway.card: organization and organization_url"),
        ("[gateway.card]\nmax_age = \"30d\"", "gateway.card.max_age: "),
        ("[gateway.card]\ncolor = \"red\"", "gateway.card.color: unknown field"),
        ("[gateway.sign]\nkey = \"a\"\nkid = \"b\"", "gateway.sign: needs gateway.url"),
        ("[gateway]\nurl = \"u\"\n[gateway.sign]\nkey = \"a\"", "gateway.sign.kid: is missing"),
        ("[gateway]\nurl = \"u\"\n[gateway.sign]\nkid = \"a\"", "gateway.sign.key: is missing"),
    ] {
        let faults = Settings::parse(text).unwrap_err();
        assert!(faults.iter().any(|one| one.starts_with(fault)), "{text}: {faults:?}");
    }
}
