//! A shopper and a merchant in a real browser: headless Chromium, driven by `WebDriver`. Screenshots of what they see.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::{Client, Locator};
use tokio::runtime::Runtime;

use crate::driver::Driver;

/// How long a page may take to show what it must.
const PATIENCE: Duration = Duration::from_mins(1);

/// A browser for which every host below `nip.io` is the ingress controller.
pub struct Browser {
    runtime: Runtime,
    client: Client,
    _driver: Driver,
    screenshots: PathBuf,
}

impl Browser {
    /// Starts `ChromeDriver` on a free port and a headless Chromium.
    pub fn start(chromedriver: &Path, ingress: &str, screenshots: &Path) -> Self {
        fs::create_dir_all(screenshots).unwrap();
        let runtime = Runtime::new().unwrap();
        let driver = Driver::start(chromedriver);
        let client =
            runtime.block_on(driver.open(&[&format!("--host-resolver-rules=MAP *.nip.io {ingress}")]));
        Self { runtime, client, _driver: driver, screenshots: screenshots.to_owned() }
    }

    /// Buys the first product through the pages and returns the order's number.
    pub fn buy(&self, url: &str) -> i64 {
        self.runtime.block_on(async {
            let (browser, name) = (&self.client, "ada@example.com");
            browser.goto(url).await.unwrap();
            self.shoot("list").await;
            self.click("ul.grid article h2 a").await;
            self.shoot("product").await;
            self.click("form[action^='/products/'] button").await;
            browser.goto(&format!("{url}/cart")).await.unwrap();
            self.shoot("cart").await;
            self.click("a[href='/checkout']").await;
            let fields = [
                ("email", name),
                ("first_name", "Ada"),
                ("last_name", "Lovelace"),
                ("address_1", "Analytical Street 1"),
                ("postal_code", "10115"),
                ("city", "Berlin"),
            ];
            for (field, text) in fields {
                let field = self.find(&format!("form[action='/checkout'] [name='{field}']")).await;
                field.send_keys(text).await.unwrap();
            }
            self.shoot("checkout").await;
            self.click("form[action='/checkout'] button").await;
            self.shoot("checkout-review").await;
            self.click("button[name='action'][value='place']").await;
            let number = self.find("p.lead strong").await.text().await.unwrap();
            self.shoot("confirmation").await;
            number.trim_start_matches('#').parse().unwrap_or_else(|_| panic!("no order number: {number}"))
        })
    }

    /// Logs in at the dashboard and waits until an order shows in its list.
    pub fn see_order_in_dashboard(&self, url: &str, (email, password): (&str, &str), number: i64) {
        self.runtime.block_on(async {
            self.client.goto(&format!("{url}/app/login")).await.unwrap();
            self.find("input[name='email']").await.send_keys(email).await.unwrap();
            self.find("input[name='password']").await.send_keys(password).await.unwrap();
            self.click("button[type='submit']").await;
            // Without a session it goes back to the log-in.
            self.await_one(Locator::Css("aside a[href='/app/orders'], nav a[href='/app/orders']")).await;
            self.client.goto(&format!("{url}/app/orders")).await.unwrap();
            self.await_one(Locator::XPath(&format!("//*[normalize-space(.) = '#{number}']"))).await;
            self.shoot("admin").await;
        });
    }

    async fn find(&self, css: &str) -> Element {
        self.await_one(Locator::Css(css)).await
    }

    async fn click(&self, css: &str) {
        self.find(css).await.click().await.unwrap();
    }

    /// Waits for an element; without one, shows and tells what was there in its place.
    async fn await_one(&self, what: Locator<'_>) -> Element {
        match self.client.wait().at_most(PATIENCE).for_element(what).await {
            Ok(element) => element,
            Err(error) => {
                self.shoot("failure").await;
                let page = self.client.source().await.unwrap_or_default();
                let address = self.client.current_url().await.map(|url| url.to_string()).unwrap_or_default();
                let page: String = page.chars().take(4000).collect();
                panic!("no {what:?} ({error}) at {address}:\n{page}")
            }
        }
    }

    async fn shoot(&self, name: &str) {
        let picture = self.client.screenshot().await.unwrap();
        fs::write(self.screenshots.join(format!("{name}.png")), picture).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.runtime.block_on(self.client.clone().close());
    }
}
