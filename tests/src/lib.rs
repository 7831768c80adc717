//! authgear-integration
