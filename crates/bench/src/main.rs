//! `civicnet-bench`: the load clients that the scripts in `bench/` drive.

mod dns_load;
mod dns_serve;
mod edge_node;
mod mmsg;

use clap::Parser;

/// Load clients for the side-by-side benchmarks. They talk to loopback and end by
/// themselves.
#[derive(Debug, Parser)]
#[command(version)]
enum Command {
    /// Ask a DNS server as fast as it answers, and print what it cost it as JSON.
    DnsLoad(dns_load::Options),
    /// Serve a dispatch snapshot (JSON) or a zone file, without rate limits.
    DnsServe(dns_serve::Options),
    /// Make the folder of an edge node that has many sites and a full cache.
    EdgeNode(edge_node::Options),
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::DnsLoad(options) => dns_load::run(&options),
        Command::DnsServe(options) => dns_serve::run(options),
        Command::EdgeNode(options) => edge_node::run(&options),
    }
}
