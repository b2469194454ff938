//! How callers prove who they are, as cards say it: the five kinds of A2A 1.0, and what is required of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One way to prove who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SecurityScheme {
    /// A key in a header, query or cookie.
    #[serde(alias = "api_key_security_scheme")]
    ApiKeySecurityScheme(ApiKeySecurityScheme),
    /// HTTP authentication: `Bearer`, `Basic`.
    #[serde(alias = "http_auth_security_scheme")]
    HttpAuthSecurityScheme(HttpAuthSecurityScheme),
    /// OAuth 2.0.
    #[serde(rename = "oauth2SecurityScheme", alias = "oauth2_security_scheme")]
    OAuth2SecurityScheme(OAuth2SecurityScheme),
    /// `OpenID` Connect.
    #[serde(alias = "open_id_connect_security_scheme")]
    OpenIdConnectSecurityScheme(OpenIdConnectSecurityScheme),
    /// A client certificate.
    #[serde(alias = "mtls_security_scheme")]
    MtlsSecurityScheme(MutualTlsSecurityScheme),
}

/// A key in a header, query or cookie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeySecurityScheme {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `header`, `query` or `cookie`.
    pub location: String,
    /// The name of that header, query parameter or cookie.
    pub name: String,
}

/// HTTP authentication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpAuthSecurityScheme {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The scheme's registered name, such as `Bearer`.
    pub scheme: String,
    /// What a bearer token looks like, such as `JWT`.
    #[serde(default, alias = "bearer_format", skip_serializing_if = "Option::is_none")]
    pub bearer_format: Option<String>,
}

/// OAuth 2.0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OAuth2SecurityScheme {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How to get a token.
    pub flows: OAuthFlow,
    /// Where the authorization server describes itself (RFC 8414).
    #[serde(default, alias = "oauth2_metadata_url", skip_serializing_if = "Option::is_none")]
    pub oauth2_metadata_url: Option<String>,
}

/// `OpenID` Connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenIdConnectSecurityScheme {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The discovery document of the issuer.
    #[serde(alias = "open_id_connect_url")]
    pub open_id_connect_url: String,
}

/// A client certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MutualTlsSecurityScheme {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// How to get a token of OAuth 2.0. `implicit` and `password` are only read: A2A has deprecated both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OAuthFlow {
    /// With a code, for people in a browser.
    #[serde(alias = "authorization_code")]
    AuthorizationCode(OAuthEndpoints),
    /// For programs that act for themselves.
    #[serde(alias = "client_credentials")]
    ClientCredentials(OAuthEndpoints),
    /// Deprecated.
    Implicit(OAuthEndpoints),
    /// Deprecated.
    Password(OAuthEndpoints),
    /// For devices without a browser.
    #[serde(alias = "device_code")]
    DeviceCode(OAuthEndpoints),
}

/// Where a flow goes. Which of the addresses a flow has depends on the flow.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OAuthEndpoints {
    /// Where a person allows it.
    #[serde(default, alias = "authorization_url", skip_serializing_if = "Option::is_none")]
    pub authorization_url: Option<String>,
    /// Where a device asks for its code.
    #[serde(default, alias = "device_authorization_url", skip_serializing_if = "Option::is_none")]
    pub device_authorization_url: Option<String>,
    /// Where tokens are.
    #[serde(default, alias = "token_url", skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    /// Where they are renewed.
    #[serde(default, alias = "refresh_url", skip_serializing_if = "Option::is_none")]
    pub refresh_url: Option<String>,
    /// Each scope and what it allows.
    #[serde(default)]
    pub scopes: BTreeMap<String, String>,
    /// Whether PKCE (RFC 7636) is required.
    #[serde(default, alias = "pkce_required", skip_serializing_if = "std::ops::Not::not")]
    pub pkce_required: bool,
}

/// Schemes that together are enough; a list of requirements is met by any one of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SecurityRequirement {
    /// Each scheme by its name, with the scopes that are needed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schemes: BTreeMap<String, StringList>,
}

/// `StringList`: what protobuf needs to have lists in a map.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct StringList {
    /// The strings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub list: Vec<String>,
}

/// A derived reader would also take an array for the object.
impl TryFrom<Map<String, Value>> for StringList {
    type Error = serde_json::Error;

    fn try_from(mut fields: Map<String, Value>) -> Result<Self, Self::Error> {
        let list = fields.remove("list").map(serde_json::from_value).transpose()?;
        Ok(Self { list: list.unwrap_or_default() })
    }
}
