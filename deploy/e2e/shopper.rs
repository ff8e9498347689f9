//! A shopper and a merchant at the wire: the Store API and the Admin API of one store, through its Ingress host.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Everything resolves to the ingress controller.
struct Fixed(SocketAddr);

impl Resolve for Fixed {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(std::iter::once(self.0));
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

/// Talks to stores.
pub struct Http {
    runtime: Runtime,
    client: Client,
}

/// What came back.
pub struct Answer {
    pub status: u16,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }
}

impl Http {
    pub fn new(ingress: SocketAddr) -> Self {
        let client = Client::builder().dns_resolver(Arc::new(Fixed(ingress))).no_proxy();
        let client = client.timeout(Duration::from_mins(1)).build().unwrap();
        Self { runtime: Runtime::new().unwrap(), client }
    }

    /// Sends a request; none when nothing answers.
    pub fn try_send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Option<Answer> {
        let mut request = self.client.request(method, url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        self.runtime.block_on(async {
            let answer = request.send().await.ok()?;
            Some(Answer { status: answer.status().as_u16(), text: answer.text().await.ok()? })
        })
    }

    fn send(&self, method: &Method, url: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Value {
        let answer = self.try_send(method.clone(), url, headers, body);
        let answer = answer.unwrap_or_else(|| panic!("{method} {url}: no answer"));
        assert!(answer.status < 300, "{method} {url}: {} {}", answer.status, answer.text);
        answer.json()
    }
}

/// One store, as its customers and its merchant reach it.
pub struct Shop<'a> {
    pub http: &'a Http,
    /// Without `/` at its end.
    pub url: String,
    /// The entries of its Secret.
    pub secrets: BTreeMap<String, String>,
}

/// An order that was placed.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    pub id: String,
    pub number: i64,
    pub total: f64,
}

impl Shop<'_> {
    fn store(&self, method: &Method, path: &str, body: Option<&Value>) -> Value {
        let key = [("x-publishable-api-key", self.secrets["publishable-key"].as_str())];
        self.http.send(method, &format!("{}/store/{path}", self.url), &key, body)
    }

    /// Returns the status with which the Store API answers to a key.
    pub fn status_with_key(&self, key: &str) -> u16 {
        let url = format!("{}/store/regions", self.url);
        self.http.try_send(Method::GET, &url, &[("x-publishable-api-key", key)], None).unwrap().status
    }

    /// Buys two of the first product, from the list to the order.
    pub fn buy(&self) -> Order {
        let region = self.store(&Method::GET, "regions", None)["regions"][0].clone();
        let id = region["id"].as_str().unwrap();
        let products = self.store(
            &Method::GET,
            &format!("products?region_id={id}&fields=*variants.calculated_price"),
            None,
        );
        let variant = &products["products"][0]["variants"][0];
        let price = variant["calculated_price"]["calculated_amount"].as_f64().unwrap();
        let body = json!({"region_id": id, "email": "ada@example.com"});
        let cart = self.store(&Method::POST, "carts", Some(&body))["cart"]["id"].as_str().unwrap().to_owned();
        let line = json!({"variant_id": variant["id"], "quantity": 2});
        self.store(&Method::POST, &format!("carts/{cart}/line-items"), Some(&line));
        let address = json!({
            "first_name": "Ada", "last_name": "Lovelace", "address_1": "Street 1", "city": "Town",
            "postal_code": "10115", "country_code": region["countries"][0]["iso_2"],
        });
        let addresses = json!({"shipping_address": address, "billing_address": address});
        self.store(&Method::POST, &format!("carts/{cart}"), Some(&addresses));
        let options = self.store(&Method::GET, &format!("shipping-options?cart_id={cart}"), None);
        let option = json!({"option_id": options["shipping_options"][0]["id"]});
        self.store(&Method::POST, &format!("carts/{cart}/shipping-methods"), Some(&option));
        let collection = self.store(&Method::POST, "payment-collections", Some(&json!({"cart_id": cart})));
        let collection = collection["payment_collection"]["id"].as_str().unwrap().to_owned();
        let providers = self.store(&Method::GET, &format!("payment-providers?region_id={id}"), None);
        let provider = json!({"provider_id": providers["payment_providers"][0]["id"]});
        self.store(
            &Method::POST,
            &format!("payment-collections/{collection}/payment-sessions"),
            Some(&provider),
        );
        let complete = || self.store(&Method::POST, &format!("carts/{cart}/complete"), Some(&json!({})));
        let done = complete();
        assert_eq!(done["type"], "order", "{done}");
        assert_eq!(
            complete()["order"]["id"],
            done["order"]["id"],
            "a cart is one order, however often it is completed"
        );
        let total = done["order"]["total"].as_f64().unwrap();
        assert!(total >= 2.0 * price, "{total} for two at {price}");
        Order {
            id: done["order"]["id"].as_str().unwrap().to_owned(),
            number: done["order"]["display_id"].as_i64().unwrap(),
            total,
        }
    }

    /// Logs the merchant in; none while that does not work.
    pub fn try_log_in(&self, email: &str) -> Option<String> {
        let body = json!({"email": email, "password": self.secrets["admin-password"]});
        let url = format!("{}/auth/user/emailpass", self.url);
        let answer = self.http.try_send(Method::POST, &url, &[], Some(&body))?;
        (answer.status == 200).then(|| answer.json()["token"].as_str().map(str::to_owned))?
    }

    /// Returns the orders as the merchant sees them.
    pub fn orders(&self, email: &str) -> Vec<Order> {
        let token = self.try_log_in(email).unwrap_or_else(|| panic!("{email} can't log in at {}", self.url));
        let bearer = format!("Bearer {token}");
        let url = format!("{}/admin/orders?fields=id,display_id,total&limit=50", self.url);
        let found = self.http.send(&Method::GET, &url, &[("authorization", &bearer)], None);
        let orders = found["orders"].as_array().unwrap().iter().map(|order| Order {
            id: order["id"].as_str().unwrap().to_owned(),
            number: order["display_id"].as_i64().unwrap(),
            total: order["total"].as_f64().unwrap(),
        });
        orders.collect()
    }

    /// Returns a page of the shop; none when it does not answer well.
    pub fn page(&self, path: &str) -> Option<String> {
        let answer = self.http.try_send(Method::GET, &format!("{}{path}", self.url), &[], None)?;
        (answer.status == 200).then_some(answer.text)
    }
}
