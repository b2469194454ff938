//! Gateways in their registry.

use protocol::gateway::GatewayRegistration;
use runtime::clock::Clock;

use super::table::ago;
use super::{Format, PrintError, Printer};

/// All of them.
pub(crate) fn list(
    printer: &mut Printer,
    gateways: &[GatewayRegistration],
) -> Result<(), PrintError> {
    if printer.format() != Format::Table {
        return printer.json_list(gateways);
    }
    let now = Clock::system().now();
    let header =
        ["NAME", "LISTENS AT", "TLS", "ADDRESS", "CONNECTIONS", "STREAMS", "SEEN", "UP", "VERSION"];
    let rows = gateways.iter().map(|gateway| {
        vec![
            gateway.name.to_string(),
            gateway.listen.clone(),
            if gateway.secure { "yes" } else { "no" }.to_owned(),
            gateway.url.clone().unwrap_or_else(|| "-".to_owned()),
            format!("{}/{}", gateway.connections, gateway.connections_max),
            gateway.streams.to_string(),
            format!("{} ago", ago(gateway.seen_at, now)),
            ago(gateway.started_at, now),
            gateway.weft_version.clone(),
        ]
    });
    printer.table(&header, rows.collect(), "no gateways; weft gateway or weft dev starts one")
}
