# syntax=docker/dockerfile:1
# The sidecar in a small image: built apart, run by nobody in particular, on a read-only file system if you like.
FROM python:3.13-slim AS build
RUN python -m venv /opt/cacheproxy
ENV PATH=/opt/cacheproxy/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY cacheproxy cacheproxy
RUN pip install --no-deps --no-build-isolation . && pip uninstall --yes setuptools pip

FROM python:3.13-slim
LABEL org.opencontainers.image.title="cacheproxy" \
      org.opencontainers.image.description="A caching reverse proxy that runs beside an HTTP service, as a sidecar" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/cacheproxy /opt/cacheproxy
COPY config/cacheproxy.yaml /etc/cacheproxy/cacheproxy.yaml
ENV PATH=/opt/cacheproxy/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CACHEPROXY_CONFIG=/etc/cacheproxy/cacheproxy.yaml \
    CACHEPROXY_LISTEN=0.0.0.0:8080 \
    CACHEPROXY_ADMIN=127.0.0.1:9090
# By number, so that Kubernetes' runAsNonRoot can see that it is not root.
USER 10001:10001
EXPOSE 8080
# Often at first, so that what waits for it need not wait long; then seldom, for each takes a fifth of a second of CPU.
HEALTHCHECK --interval=15s --timeout=3s --start-period=10s --start-interval=1s --retries=2 CMD ["cacheproxy", "health"]
ENTRYPOINT ["cacheproxy"]
CMD ["serve"]
