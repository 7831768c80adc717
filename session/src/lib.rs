//! authgear-session
