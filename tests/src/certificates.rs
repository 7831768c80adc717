//! Certificates made for one test.

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509Builder, X509Name, X509};

/// Something that signs certificates.
#[derive(Clone, Debug)]
pub struct Authority {
    identity: Identity,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: X509,
    /// Its key.
    pub key: PKey<Private>,
}

/// Days from now at which a certificate's time begins and ends.
type Validity = (i64, i64);

const VALID: Validity = (-1, 30);
const EXPIRED: Validity = (-30, -1);

impl Authority {
    /// A root of trust of this name.
    pub fn new(name: &str) -> Self {
        Self {
            identity: Identity::new(name, VALID, true, None),
        }
    }

    /// An authority below this one.
    pub fn intermediate(&self, name: &str) -> Self {
        Self {
            identity: Identity::new(name, VALID, true, Some(&self.identity)),
        }
    }

    /// A certificate for this DNS name, or client of this name.
    pub fn issue(&self, name: &str) -> Identity {
        Identity::new(name, VALID, false, Some(&self.identity))
    }

    /// One whose time is over.
    pub fn issue_expired(&self, name: &str) -> Identity {
        Identity::new(name, EXPIRED, false, Some(&self.identity))
    }

    /// Its own certificate.
    pub fn certificate(&self) -> &X509 {
        &self.identity.certificate
    }

    /// Its own certificate as a file for nginx.
    pub fn pem(&self) -> String {
        self.identity.pem()
    }

    /// Its certificate and key, to sign other things with.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

impl Identity {
    fn new(name: &str, (from, to): Validity, authority: bool, issuer: Option<&Identity>) -> Self {
        Self::build(name, from, to, authority, issuer).expect("a certificate")
    }

    fn build(
        name: &str,
        from: i64,
        to: i64,
        authority: bool,
        issuer: Option<&Identity>,
    ) -> Result<Self, openssl::error::ErrorStack> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
        let mut subject = X509Name::builder()?;
        subject.append_entry_by_nid(Nid::COMMONNAME, name)?;
        let subject = subject.build();
        let mut serial = BigNum::new()?;
        serial.rand(120, MsbOption::ONE, false)?;
        let now = i64::try_from(
            std::time::UNIX_EPOCH
                .elapsed()
                .expect("a time after 1970")
                .as_secs(),
        )
        .expect("a time");
        let day = |days: i64| Asn1Time::from_unix(now + days * 86_400);

        let mut builder = X509Builder::new()?;
        builder.set_version(2)?;
        builder.set_serial_number(&*serial.to_asn1_integer()?)?;
        builder.set_subject_name(&subject)?;
        let issuer_name = issuer.map_or(&*subject, |issuer| issuer.certificate.subject_name());
        builder.set_issuer_name(issuer_name)?;
        builder.set_not_before(&*day(from)?)?;
        builder.set_not_after(&*day(to)?)?;
        builder.set_pubkey(&key)?;
        let mut constraints = BasicConstraints::new();
        constraints.critical();
        if authority {
            constraints.ca();
        }
        builder.append_extension(constraints.build()?)?;
        if !authority {
            let context = builder.x509v3_context(issuer.map(|i| &*i.certificate), None);
            let names = SubjectAlternativeName::new().dns(name).build(&context)?;
            builder.append_extension(names)?;
        }
        builder.sign(issuer.map_or(&key, |i| &i.key), MessageDigest::sha256())?;
        Ok(Self {
            certificate: builder.build(),
            key,
        })
    }

    /// The certificate as a file.
    pub fn pem(&self) -> String {
        text(self.certificate.to_pem())
    }

    /// The key as a file.
    pub fn key_pem(&self) -> String {
        text(self.key.private_key_to_pem_pkcs8())
    }
}

fn text(pem: Result<Vec<u8>, openssl::error::ErrorStack>) -> String {
    String::from_utf8(pem.expect("PEM")).expect("ASCII")
}
