//! authgear-resolver-double
