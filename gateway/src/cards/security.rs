//! What the doors ask for, as cards say it: read off the settings of the doors.

use std::collections::BTreeMap;

use protocol::card::AgentCard;
use protocol::card::security::{
    ApiKeySecurityScheme, HttpAuthSecurityScheme, MutualTlsSecurityScheme,
    OpenIdConnectSecurityScheme, SecurityRequirement, SecurityScheme, StringList,
};
use runtime::config::{GatewaySection, JwksSource};

/// The header that API keys come in.
pub(super) const API_KEY_HEADER: &str = "X-API-Key";

/// Says on a card how callers prove who they are, and that one of the ways is enough. Open doors ask for nothing.
pub(super) fn declare(settings: &GatewaySection, card: &mut AgentCard) {
    let access = &settings.access;
    let mut schemes = BTreeMap::new();
    if !access.keys.is_empty() {
        let scheme = ApiKeySecurityScheme {
            description: Some("An API key; it may also come as a bearer token.".to_owned()),
            location: "header".to_owned(),
            name: API_KEY_HEADER.to_owned(),
        };
        schemes.insert("apiKey".to_owned(), SecurityScheme::ApiKeySecurityScheme(scheme));
    }
    if let Some(jwt) = &access.jwt {
        let scheme = HttpAuthSecurityScheme {
            description: Some(format!("A token of {}.", jwt.issuer)),
            scheme: "Bearer".to_owned(),
            bearer_format: Some("JWT".to_owned()),
        };
        schemes.insert("bearer".to_owned(), SecurityScheme::HttpAuthSecurityScheme(scheme));
        if matches!(jwt.source, JwksSource::Discovery) {
            let issuer = jwt.issuer.trim_end_matches('/');
            let scheme = OpenIdConnectSecurityScheme {
                description: None,
                open_id_connect_url: format!("{issuer}/.well-known/openid-configuration"),
            };
            let scheme = SecurityScheme::OpenIdConnectSecurityScheme(scheme);
            schemes.insert("openIdConnect".to_owned(), scheme);
        }
    }
    if settings.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()) {
        let scheme = SecurityScheme::MtlsSecurityScheme(MutualTlsSecurityScheme {
            description: Some("A client certificate that the gateway knows.".to_owned()),
        });
        schemes.insert("certificate".to_owned(), scheme);
    }
    if !settings.open {
        card.security_requirements = schemes
            .keys()
            .map(|name| SecurityRequirement {
                schemes: BTreeMap::from([(name.clone(), StringList::default())]),
            })
            .collect();
    }
    card.security_schemes = schemes;
}
