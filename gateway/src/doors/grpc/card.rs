//! Agent cards onto the wire, by way of their JSON: a card is whatever the JSON doors show, field for field.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::pb;
use super::struct_value::to_struct;
use pb::o_auth_flows::Flow;
use pb::security_scheme::Scheme;

/// One object of a card.
#[derive(Clone, Copy)]
struct Object<'a>(&'a Map<String, Value>);

impl<'a> Object<'a> {
    fn of(value: &'a Value) -> Option<Self> {
        value.as_object().map(Self)
    }

    fn may(self, key: &str) -> Option<String> {
        self.0.get(key)?.as_str().map(str::to_owned)
    }

    fn text(self, key: &str) -> String {
        self.may(key).unwrap_or_default()
    }

    fn flag(self, key: &str) -> Option<bool> {
        self.0.get(key)?.as_bool()
    }

    fn object(self, key: &str) -> Option<Self> {
        self.0.get(key).and_then(Self::of)
    }

    fn fields(self, key: &str) -> Option<prost_types::Struct> {
        self.object(key).map(|object| to_struct(object.0.clone()))
    }

    fn texts(self, key: &str) -> Vec<String> {
        let each = self.0.get(key).and_then(Value::as_array).into_iter().flatten();
        each.filter_map(|text| text.as_str().map(str::to_owned)).collect()
    }

    fn each<T>(self, key: &str, read: fn(Self) -> T) -> Vec<T> {
        let each = self.0.get(key).and_then(Value::as_array).into_iter().flatten();
        each.filter_map(Self::of).map(read).collect()
    }

    fn scopes(self) -> HashMap<String, String> {
        let scopes = self.object("scopes").into_iter().flat_map(|scopes| scopes.0.iter());
        scopes.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    }
}

/// A card, from its JSON.
pub(super) fn card(json: &Value) -> pb::AgentCard {
    Object::of(json).map(agent_card).unwrap_or_default()
}

fn agent_card(card: Object<'_>) -> pb::AgentCard {
    let schemes = card.object("securitySchemes").into_iter().flat_map(|schemes| schemes.0.iter());
    let schemes =
        schemes.filter_map(|(name, value)| Some((name.clone(), scheme(Object::of(value)?))));
    pb::AgentCard {
        name: card.text("name"),
        description: card.text("description"),
        supported_interfaces: card.each("supportedInterfaces", |one| pb::AgentInterface {
            url: one.text("url"),
            protocol_binding: one.text("protocolBinding"),
            tenant: one.text("tenant"),
            protocol_version: one.text("protocolVersion"),
        }),
        provider: card.object("provider").map(|provider| pb::AgentProvider {
            url: provider.text("url"),
            organization: provider.text("organization"),
        }),
        version: card.text("version"),
        documentation_url: card.may("documentationUrl"),
        capabilities: card.object("capabilities").map(capabilities),
        security_schemes: schemes.collect(),
        security_requirements: card.each("securityRequirements", requirement),
        default_input_modes: card.texts("defaultInputModes"),
        default_output_modes: card.texts("defaultOutputModes"),
        skills: card.each("skills", skill),
        signatures: card.each("signatures", |one| pb::AgentCardSignature {
            protected: one.text("protected"),
            signature: one.text("signature"),
            header: one.fields("header"),
        }),
        icon_url: card.may("iconUrl"),
    }
}

fn capabilities(one: Object<'_>) -> pb::AgentCapabilities {
    pb::AgentCapabilities {
        streaming: one.flag("streaming"),
        push_notifications: one.flag("pushNotifications"),
        extensions: one.each("extensions", |one| pb::AgentExtension {
            uri: one.text("uri"),
            description: one.text("description"),
            required: one.flag("required").unwrap_or_default(),
            params: one.fields("params"),
        }),
        extended_agent_card: one.flag("extendedAgentCard"),
    }
}

fn skill(one: Object<'_>) -> pb::AgentSkill {
    pb::AgentSkill {
        id: one.text("id"),
        name: one.text("name"),
        description: one.text("description"),
        tags: one.texts("tags"),
        examples: one.texts("examples"),
        input_modes: one.texts("inputModes"),
        output_modes: one.texts("outputModes"),
        security_requirements: one.each("securityRequirements", requirement),
    }
}

fn requirement(one: Object<'_>) -> pb::SecurityRequirement {
    let schemes = one.object("schemes").into_iter().flat_map(|schemes| schemes.0.iter());
    let schemes = schemes.map(|(name, value)| {
        let list = Object::of(value).map(|scopes| scopes.texts("list")).unwrap_or_default();
        (name.clone(), pb::StringList { list })
    });
    pb::SecurityRequirement { schemes: schemes.collect() }
}

fn scheme(one: Object<'_>) -> pb::SecurityScheme {
    let scheme = if let Some(one) = one.object("apiKeySecurityScheme") {
        Some(Scheme::ApiKeySecurityScheme(pb::ApiKeySecurityScheme {
            description: one.text("description"),
            location: one.text("location"),
            name: one.text("name"),
        }))
    } else if let Some(one) = one.object("httpAuthSecurityScheme") {
        Some(Scheme::HttpAuthSecurityScheme(pb::HttpAuthSecurityScheme {
            description: one.text("description"),
            scheme: one.text("scheme"),
            bearer_format: one.text("bearerFormat"),
        }))
    } else if let Some(one) = one.object("oauth2SecurityScheme") {
        Some(Scheme::Oauth2SecurityScheme(pb::OAuth2SecurityScheme {
            description: one.text("description"),
            flows: one.object("flows").map(flows),
            oauth2_metadata_url: one.text("oauth2MetadataUrl"),
        }))
    } else if let Some(one) = one.object("openIdConnectSecurityScheme") {
        Some(Scheme::OpenIdConnectSecurityScheme(pb::OpenIdConnectSecurityScheme {
            description: one.text("description"),
            open_id_connect_url: one.text("openIdConnectUrl"),
        }))
    } else {
        one.object("mtlsSecurityScheme").map(|one| {
            let description = one.text("description");
            Scheme::MtlsSecurityScheme(pb::MutualTlsSecurityScheme { description })
        })
    };
    pb::SecurityScheme { scheme }
}

/// The flows that a caller of today would use. The deprecated ones never stand in a card of ours.
fn flows(one: Object<'_>) -> pb::OAuthFlows {
    let flow = if let Some(one) = one.object("authorizationCode") {
        Some(Flow::AuthorizationCode(pb::AuthorizationCodeOAuthFlow {
            authorization_url: one.text("authorizationUrl"),
            token_url: one.text("tokenUrl"),
            refresh_url: one.text("refreshUrl"),
            scopes: one.scopes(),
            pkce_required: one.flag("pkceRequired").unwrap_or_default(),
        }))
    } else if let Some(one) = one.object("clientCredentials") {
        Some(Flow::ClientCredentials(pb::ClientCredentialsOAuthFlow {
            token_url: one.text("tokenUrl"),
            refresh_url: one.text("refreshUrl"),
            scopes: one.scopes(),
        }))
    } else {
        one.object("deviceCode").map(|one| {
            Flow::DeviceCode(pb::DeviceCodeOAuthFlow {
                device_authorization_url: one.text("deviceAuthorizationUrl"),
                token_url: one.text("tokenUrl"),
                refresh_url: one.text("refreshUrl"),
                scopes: one.scopes(),
            })
        })
    };
    pb::OAuthFlows { flow }
}
