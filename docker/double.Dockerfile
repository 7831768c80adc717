# The double of Authgear's resolver, for the compose file: see double/README.md. In the root of the source tree:
#
#   docker build -f docker/double.Dockerfile -t authgear-resolver-double .

ARG RUST_IMAGE=rust:1-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS double
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p authgear-resolver-double --bin authgear-resolver-double

FROM ${RUNTIME_IMAGE}
COPY --from=double /src/target/release/authgear-resolver-double /usr/local/bin/
USER 65534:65534
EXPOSE 3000 3001
ENTRYPOINT ["authgear-resolver-double"]
CMD ["--listen", "0.0.0.0:3000", "--listen", "0.0.0.0:3001"]
