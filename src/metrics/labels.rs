//! The values that labels have: closed sets, so that nothing from outside makes a series.

/// Declares a closed set of label values.
macro_rules! labels {
    ($($(#[$about:meta])+ $name:ident { $($(#[$case:meta])+ $variant:ident = $label:literal,)+ })+) => {$(
        $(#[$about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$case])+ $variant,)+
        }

        impl $name {
            /// Every value.
            pub const ALL: [Self; [$($label),+].len()] = [$(Self::$variant),+];

            /// Returns the value as metrics write it.
            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)+
                }
            }
        }
    )+};
}

labels! {
    /// How one run over a store ended.
    Outcome {
        /// Nothing was to be done.
        Converged = "converged",
        /// Objects were applied or pruned.
        Applied = "applied",
        /// Something outside must happen first; no failure.
        Waiting = "waiting",
        /// A limit forbids what git asks for.
        Refused = "refused",
        /// The deletion of the store's namespace was asked for.
        Deleted = "deleted",
        /// The run failed and is tried again.
        Failed = "failed",
        /// A newer commit ended it, or it takes long and waits for a place among others that do.
        Interrupted = "interrupted",
    }

    /// Why a store wants a run, the most urgent first.
    Why {
        /// Git wants something new of it.
        Changed = "changed",
        /// Something of it moved in the cluster.
        Moved = "moved",
        /// Time has come.
        Routine = "routine",
    }

    /// How one look at the watched repository ended.
    GitFetch {
        /// The branch moved.
        Changed = "changed",
        /// The branch is where it was.
        Unchanged = "unchanged",
        /// The repository did not answer, or not well.
        Failed = "failed",
    }

    /// How the transfer from the watched repository ended, whatever was in it.
    Transfer {
        /// The remote answered.
        Done = "done",
        /// It did not, or not well.
        Failed = "failed",
    }

    /// What became of the delivery of a webhook.
    HookResult {
        /// It is signed as agreed, and the repository is looked at.
        Accepted = "accepted",
        /// It is signed as agreed, and its event moves nothing.
        Ignored = "ignored",
        /// It does not prove that it knows the secret.
        Forged = "forged",
        /// It is too large, too slow, one of too many, or not for anything here.
        Refused = "refused",
    }

    /// What became of something that the forge was to be told.
    Told {
        /// The forge took it.
        Sent = "sent",
        /// The forge asked to wait.
        Busy = "busy",
        /// The forge could not be reached, or is not well.
        Unavailable = "unavailable",
        /// The forge refused the login or the setting.
        LoginRefused = "login_refused",
        /// The forge refused this.
        Refused = "refused",
    }

    /// What the API server is asked to do.
    Verb {
        /// One object, or what the server serves.
        Get = "get",
        /// All objects of a kind.
        List = "list",
        /// What becomes of them.
        Watch = "watch",
        /// A new object.
        Create = "create",
        /// A server-side apply.
        Apply = "apply",
        /// Another change of some fields.
        Patch = "patch",
        /// An object's end.
        Delete = "delete",
        /// Nothing of these.
        Other = "other",
    }

    /// What the API server answered.
    ApiAnswer {
        /// It did it.
        Good = "2xx",
        /// It is elsewhere, or unchanged.
        Redirect = "3xx",
        /// The object is not as it was, or is there already.
        Conflict = "409",
        /// Come again later.
        Busy = "429",
        /// It is refused for another reason.
        Refused = "4xx",
        /// The server failed.
        ServerError = "5xx",
        /// There was no answer.
        NoAnswer = "error",
    }

    /// What a watch is over.
    WatchKind {
        /// The namespaces of stores.
        Namespaces = "namespaces",
        /// The inventories of stores.
        Inventories = "inventories",
        /// Objects whose status counts.
        Workloads = "workloads",
        /// Every other kind.
        Others = "others",
    }

    /// What of ours was asked for over HTTP.
    Route {
        /// A page for people.
        Page = "page",
        /// JSON.
        Api = "api",
        /// A stream of changes.
        Stream = "stream",
        /// A badge.
        Badge = "badge",
        /// Metrics.
        Metrics = "metrics",
        /// Whether the process is well.
        Probe = "probe",
        /// A webhook's delivery.
        Hook = "hook",
        /// Nothing that there is, or something small such as a style.
        Other = "other",
    }

    /// What we answered.
    HttpAnswer {
        /// It was answered.
        Good = "2xx",
        /// It is elsewhere, or unchanged.
        Redirect = "3xx",
        /// Not without a login.
        Unauthorized = "401",
        /// There is nothing.
        NotFound = "404",
        /// One of too many.
        TooMany = "429",
        /// It can't be answered for another reason.
        Refused = "4xx",
        /// We failed.
        ServerError = "5xx",
    }

    /// Why the door was not opened.
    DoorRefusal {
        /// One client asks too often.
        RateOfClient = "rate_client",
        /// All clients together ask too often.
        RateOfAll = "rate_all",
        /// One client holds too many connections.
        ConnectionsOfClient = "connections_client",
        /// One client follows too many streams.
        StreamsOfClient = "streams_client",
        /// All clients together follow too many streams.
        StreamsOfAll = "streams_all",
        /// Nobody who may read.
        Login = "login",
        /// A path that is too long.
        Path = "path",
        /// A body where none belongs.
        Body = "body",
    }
}

impl Route {
    /// Tells what lies at a path. Probes and hooks are let through where others are not, so they are told by the whole of it.
    pub fn of(path: &str) -> Self {
        if matches!(path, "/healthz" | "/readyz") {
            return Self::Probe;
        }
        let path = path.strip_prefix('/').unwrap_or(path);
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        match first {
            "" | "stores" | "commits" | "plans" | "new" => Self::Page,
            "api" => Self::Api,
            "badge" => Self::Badge,
            "metrics" => Self::Metrics,
            "hooks" if !rest.is_empty() && !rest.contains('/') => Self::Hook,
            _ => Self::Other,
        }
    }
}

impl HttpAnswer {
    /// Sorts a status.
    pub fn of(status: u16) -> Self {
        match status {
            ..300 => Self::Good,
            300..400 => Self::Redirect,
            401 => Self::Unauthorized,
            404 => Self::NotFound,
            429 => Self::TooMany,
            400..500 => Self::Refused,
            500.. => Self::ServerError,
        }
    }
}

impl ApiAnswer {
    /// Sorts a status; there is none when there was no answer.
    pub fn of(status: Option<u16>) -> Self {
        match status {
            None => Self::NoAnswer,
            Some(..300) => Self::Good,
            Some(300..400) => Self::Redirect,
            Some(409) => Self::Conflict,
            Some(429) => Self::Busy,
            Some(400..500) => Self::Refused,
            Some(500..) => Self::ServerError,
        }
    }
}
