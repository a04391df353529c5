# The wheel and nothing else, as a user without rights. Written without a Docker daemon at hand: it has not been built yet.
FROM python:3.12-slim
COPY dist/*.whl /tmp/
RUN pip install --no-cache-dir /tmp/*.whl && useradd --create-home samis
USER samis
WORKDIR /home/samis
ENTRYPOINT ["samis"]
CMD ["--help"]
# python -m pip wheel --no-deps -w dist . && docker build -t samis . && docker run --rm -v "$PWD:/home/samis/work" samis doctor
