//! The job of the comparison on hyper and hyper's legacy client, without any feature: the cost of
//! the library alone.

use crate::args::Args;
use crate::net::{client_config, listen};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Instant;

struct Proxy {
    client: Client<HttpsConnector<HttpConnector>, Incoming>,
    upstream: String,
    host: HeaderValue,
    auth: HeaderValue,
    /// A rate limiter too generous to refuse: the theoretical arrival time, in ns, of one request
    /// per microsecond.
    arrival: Cell<u64>,
    start: Instant,
}

pub fn run(args: &Args) {
    let host = format!("{}:{}", args.required("up-host"), args.required("up-port"));
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config({
            let mut config = client_config(args.required("ca"));
            config.alpn_protocols.clear(); // the connector sets it
            config
        })
        .https_only()
        .enable_http1()
        .build();
    let proxy = Rc::new(Proxy {
        client: Client::builder(TokioExecutor::new()).build(connector),
        upstream: format!("https://{host}"),
        host: HeaderValue::from_str(&host).expect("host"),
        auth: HeaderValue::from_str(args.required("auth")).expect("auth"),
        arrival: Cell::new(0),
        start: Instant::now(),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = tokio::net::TcpListener::from_std(listen(args.num("port", 0))).expect("listener");
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            let proxy = Rc::clone(&proxy);
            tokio::task::spawn_local(async move {
                let service = service_fn(|request| proxy.forward(request));
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
}

impl Proxy {
    async fn forward(
        &self,
        mut request: Request<Incoming>,
    ) -> Result<Response<BoxBody<Bytes, hyper::Error>>, Infallible> {
        if !self.admit() {
            return Ok(own_answer(StatusCode::TOO_MANY_REQUESTS));
        }
        let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
        let Ok(uri) = format!("{}{path}", self.upstream).parse::<Uri>() else {
            return Ok(own_answer(StatusCode::BAD_REQUEST));
        };
        *request.uri_mut() = uri;
        request.headers_mut().remove(CONNECTION);
        request.headers_mut().insert(HOST, self.host.clone());
        request.headers_mut().insert(AUTHORIZATION, self.auth.clone());
        match self.client.request(request).await {
            Ok(mut answer) => {
                answer.headers_mut().remove(CONNECTION);
                Ok(answer.map(BodyExt::boxed))
            }
            Err(_) => Ok(own_answer(StatusCode::BAD_GATEWAY)),
        }
    }

    fn admit(&self) -> bool {
        let now = self.start.elapsed().as_nanos() as u64;
        let next = self.arrival.get().max(now) + 1_000;
        let admitted = next <= now + 1_000_000_000;
        if admitted {
            self.arrival.set(next);
        }
        admitted
    }
}

fn own_answer(status: StatusCode) -> Response<BoxBody<Bytes, hyper::Error>> {
    let mut answer = Response::new(Full::new(Bytes::new()).map_err(|never| match never {}).boxed());
    *answer.status_mut() = status;
    answer
}
