"""What tests of several folders share: tiny models, runs written through the real writer, servers, simulated steps."""
