# The `weft` binary in a small image. Nothing is fetched but the base images and the crates of Cargo.lock.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --locked --profile dist --package weft

FROM debian:12-slim
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/dist/weft /usr/local/bin/weft
COPY deploy/weft-ready /usr/local/bin/weft-ready
COPY examples/agents /usr/share/weft/agents
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin weft
USER 10001:10001
WORKDIR /tmp
ENV WEFT_HTTP=0.0.0.0:9100
EXPOSE 9100
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=6 CMD ["weft-ready"]
ENTRYPOINT ["weft"]
