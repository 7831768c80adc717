//! authgear-cache
