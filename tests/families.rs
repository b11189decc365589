//! IPv4 and IPv6 at the listeners.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::support::MESSAGES;
use crate::support::client::{Client, post};
use crate::support::keyside::Setup;
use crate::support::upstream::Upstream;

fn listening_at(addresses: &str, upstream: &Upstream) -> Setup {
    Setup::new(upstream).config(&format!(
        "[outbound]\nlisten = {addresses}\nallow_remote = true\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n\
         [log]\nlevel = \"debug\"\n[provider.test]\nextends = \"meta\"\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n\
         [credential.acme]\nprovider = \"test\"\ncheck = \"off\"\ntoken = \"file:@DIR@/token\"\n[[route]]\ncredential = \"acme\"\n"
    ))
}

#[test]
fn any_address_of_ipv6_takes_both_families_and_shows_ipv4_as_what_it_is() {
    for addresses in ["[\"[::]:@PORT@\"]", "[\"0.0.0.0:@PORT@\", \"[::]:@PORT@\"]"] {
        let upstream = Upstream::ok();
        let keyside = listening_at(addresses, &upstream).start();
        let port = keyside.outbound().port();
        for ip in [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ] {
            let mut client = Client::connect(SocketAddr::new(ip, port)).unwrap();
            let answer = client.ask(&post(MESSAGES, "{}")).unwrap();
            assert_eq!(answer.status, 200, "{addresses} {ip}");
        }
        let log = keyside.log();
        assert!(
            log.contains("127.0.0.1:") && !log.contains("::ffff:"),
            "{addresses}"
        );
    }
}
