# The gateway on nothing else: one static binary, the system's authorities, a user that isn't root.
#
#   docker build -t transom .                the image that is deployed
#   docker build --target ci -t transom:ci . the same beside a shell, for jobs that check configs
#
# The binary is built twice, the second time by the profile of the first (benches/pgo): a
# tenth less CPU for a request, more or less. --build-arg PGO=off builds it once.
# A binary that was built before is taken from image/ with --build-arg FROM=image.
ARG FROM=build

FROM docker.io/library/rust:1.95-bookworm AS build
ARG PGO=on
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        cmake nghttp2-client openssl python3 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
    && unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS \
    && if [ "$PGO" = on ]; then benches/pgo; \
       else cargo build --locked --profile dist --target "$target" --bin transom \
                --config "build.rustflags=['-Ctarget-feature=+crt-static']"; fi \
    && mkdir -p /image/etc/ssl/certs /image/etc/transom /image/var/lib/transom \
    && cp "target/$target/dist/transom" /image/transom \
    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
    && printf 'transom:x:65532:65532::/var/lib/transom:/transom\n' >/image/etc/passwd

FROM scratch AS image
COPY image/ /image/

# Whichever of the two was asked for.
FROM ${FROM} AS built

FROM docker.io/library/debian:12-slim AS ci
COPY --from=built /image/transom /usr/local/bin/transom
COPY --from=built /image/etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/

FROM scratch
LABEL org.opencontainers.image.title="Transom" \
      org.opencontainers.image.description="The front door to gRPC services: REST/JSON, gRPC-Web, Connect and gRPC in, gRPC out"
COPY --from=built /image/transom /transom
COPY --from=built /image/etc/ /etc/
COPY --from=built --chown=65532:65532 /image/var/lib/transom /var/lib/transom
USER 65532:65532
WORKDIR /etc/transom
VOLUME /var/lib/transom
EXPOSE 8080 8443 9902
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["/transom", "ready"]
ENTRYPOINT ["/transom"]
CMD ["run", "-c", "/etc/transom/transom.yaml"]
