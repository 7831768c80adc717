//! Which nginx is tested, and how.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What the environment says about the nginx under test.
#[derive(Debug)]
pub struct Environment {
    /// The nginx binary.
    pub nginx: PathBuf,
    /// The module it loads; none when it is part of the binary.
    pub module: Option<PathBuf>,
    /// Its version, as `(major, minor, patch)`.
    pub version: (u32, u32, u32),
    /// Whether nginx runs under valgrind's memcheck.
    pub valgrind: bool,
}

impl Environment {
    /// Reads it once.
    pub fn get() -> &'static Self {
        static ONCE: OnceLock<Environment> = OnceLock::new();
        ONCE.get_or_init(Self::read)
    }

    fn read() -> Self {
        let version = variable("NGINX_VERSION").unwrap_or_else(|| "1.18.0".into());
        let build = workspace().join(format!("build/nginx-{version}"));
        let path = |name: &str, default: &str| {
            variable(name).map_or_else(|| build.join(default), |value| workspace().join(value))
        };
        let nginx = path("AUTHGEAR_NGINX", "sbin/nginx");
        Self {
            version: version_of(&nginx),
            module: (variable("AUTHGEAR_MODULE").as_deref() != Some("static"))
                .then(|| path("AUTHGEAR_MODULE", "ngx_http_authgear_module.so")),
            valgrind: variable("AUTHGEAR_VALGRIND").is_some_and(|value| value != "0"),
            nginx,
        }
    }

    /// The line that loads the module.
    pub fn load_module(&self) -> String {
        let load = |module: &PathBuf| format!("load_module {};", module.display());
        self.module.as_ref().map_or_else(String::new, load)
    }

    /// `listen` parameter and extra directive that turn HTTP/2 on.
    pub fn http2(&self) -> (&'static str, &'static str) {
        if self.version >= (1, 25, 1) {
            ("", "http2 on;")
        } else {
            (" http2", "")
        }
    }
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is inside the workspace")
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Reads `nginx version: nginx/1.18.0 (Ubuntu)`.
fn version_of(nginx: &Path) -> (u32, u32, u32) {
    let output = Command::new(nginx).arg("-v").output().unwrap_or_else(|e| {
        panic!(
            "{}: {e} (run `make nginx`, or set AUTHGEAR_NGINX)",
            nginx.display()
        )
    });
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut numbers = text
        .split_once('/')
        .map_or("", |(_, version)| version)
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|number| number.parse().ok());
    let mut next = || numbers.next().unwrap_or_else(|| panic!("nginx -v: {text}"));
    (next(), next(), next())
}
