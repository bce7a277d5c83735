# The operator's image. `make image` reads the last stage of this file and makes the same image without Docker: keep to COPY from
# the context, ENV, WORKDIR, USER and ENTRYPOINT there.

FROM python:3.11-slim-bookworm AS dependencies
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /build
COPY pyproject.toml uv.lock ./
# The locked dependencies of the operator alone: no tools, no Envoy. Compiled, as the operator runs with a read-only file system.
RUN uv export --frozen --no-default-groups --no-emit-project --format requirements-txt >requirements.txt \
    && uv pip install --no-deps --compile-bytecode --target /packages -r requirements.txt

FROM python:3.11-slim-bookworm
COPY --from=dependencies /packages /usr/local/lib/python3.11/dist-packages
COPY operator/sluice /app/sluice
ENV PYTHONPATH=/app:/usr/local/lib/python3.11/dist-packages PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /app
USER 65532:65532
ENTRYPOINT ["python", "-m", "sluice"]
