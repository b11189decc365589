//! The programs of the comparison: load, upstreams and plain proxies; see ../README.md.

mod args;
mod hist;
mod hyper_proxy;
mod load;
mod message;
mod net;
mod procfs;
mod raw_proxy;
mod relay;
mod spin;
mod upstream;

use args::Args;

fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().expect("the first provider");
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let args = Args::parse(words);
    match command.as_str() {
        "load" => load::run(&args),
        "burst" => load::burst(&args),
        "relay" => relay::run(&args),
        "upstream" => upstream::run(&args),
        "raw-proxy" => raw_proxy::run(&args),
        "hyper-proxy" => hyper_proxy::run(&args),
        "spin" => spin::run(&args),
        _ => {
            eprintln!("usage: kit load|burst|upstream|relay|raw-proxy|hyper-proxy|spin --key=value ...");
            std::process::exit(2);
        }
    }
}
