//! A bundle of authorities: those of this system, and the local one.
//!
//! `SSL_CERT_FILE` and `REQUESTS_CA_BUNDLE` replace the list of an application. With the local
//! authority alone, the application could call no other server any more.

use data_encoding::BASE64;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::authority::COMMON_NAME;

/// Returns the bundle in PEM, and the number of this system's authorities in it.
pub(super) fn with_system(own: &str) -> (String, usize) {
    let mut bundle = own.trim_end().to_owned() + "\n";
    let mut count = 0;
    for certificate in rustls_native_certs::load_native_certs().certs {
        // `SSL_CERT_FILE` may name an earlier bundle, with an authority that is replaced now.
        if !is_local(&certificate) {
            bundle += &pem(&certificate);
            count += 1;
        }
    }
    (bundle, count)
}

fn is_local(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, parsed)| {
        let mut names = parsed.subject().iter_common_name();
        names.any(|name| {
            name.as_str()
                .is_ok_and(|name| name.starts_with(COMMON_NAME))
        })
    })
}

/// Returns a certificate in PEM: RFC 7468, with lines of 64 characters.
fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = BASE64.encode(certificate);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for (at, character) in text.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem + "\n-----END CERTIFICATE-----\n"
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn a_certificate_in_pem_is_read_back() {
        for length in [1, 47, 48, 49, 96, 1000] {
            let der = CertificateDer::from(vec![7; length]);
            let text = pem(&der);
            assert!(text.lines().all(|line| line.len() <= 64), "{text}");
            assert_eq!(
                CertificateDer::from_pem_slice(text.as_bytes()).unwrap(),
                der
            );
        }
    }
}
