//! Ticket systems and chats that no package brings: what we ask of them, request by request, and what we make of their answers.

use jiff::Timestamp;
use leakhound_triage::notify::azure_devops::AzureDevops;
use leakhound_triage::notify::discord::Discord;
use leakhound_triage::notify::github::Github;
use leakhound_triage::notify::gitlab::Gitlab;
use leakhound_triage::notify::google_chat::GoogleChat;
use leakhound_triage::notify::jira::Jira;
use leakhound_triage::notify::mattermost::Mattermost;
use leakhound_triage::notify::message::Turn;
use leakhound_triage::notify::pagerduty::Pagerduty;
use leakhound_triage::notify::redmine::Redmine;
use leakhound_triage::notify::secret::SecretSource;
use leakhound_triage::notify::servicenow::Servicenow;
use leakhound_triage::notify::{
    DestinationConfig, Failure, FailureKind, Http, Message, Parcel, Receipt, discord, google_chat,
    mattermost,
};
use serde_json::{Value, json};
use wiremock::matchers::{body_partial_json, header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::fixtures::{hostile_name, leak, message, monstrous, to, told};

const LABEL: &str = "leakhound-3f9ac01b2d";

fn secret() -> SecretSource {
    SecretSource::inline("tok-SECRETSECRET")
}

async fn send(
    to: &DestinationConfig,
    message: &Message,
    continues: Option<&str>,
) -> Result<Receipt, Failure> {
    let parcel = Parcel {
        key: "lh-0123",
        message,
        continues,
        maybe_sent: false,
        now: Timestamp::now(),
    };
    let result = to.destination.send(&Http::default(), &parcel).await;
    assert!(!format!("{result:?}").contains("SECRET"), "{result:?}");
    result
}

fn jira(url: &str, user: Option<&str>) -> DestinationConfig {
    to(
        "jira",
        Jira {
            site: url.to_owned(),
            project: "SHOP".to_owned(),
            issue_type: "Bug".to_owned(),
            user: user.map(str::to_owned),
            token: secret(),
        },
    )
}

#[tokio::test]
async fn jira_cloud_is_asked_by_label_before_a_ticket_is_made() {
    let server = MockServer::start().await;
    let jql = format!(
        "project = \"SHOP\" AND labels = \"{LABEL}\" AND statusCategory != Done ORDER BY created DESC"
    );
    Mock::given(method("POST"))
        .and(path("/rest/api/3/search/jql"))
        .and(header(
            "authorization",
            "Basic Ym90QHNob3AudGVzdDp0b2stU0VDUkVUU0VDUkVU",
        ))
        .and(body_partial_json(json!({ "jql": jql, "maxResults": 1 })))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "issues": [] })))
        .expect(1)
        .mount(&server)
        .await;
    let fields = json!({ "fields": {
        "project": { "key": "SHOP" }, "issuetype": { "name": "Bug" }, "labels": ["leakhound", LABEL],
        "summary": "Memory leak in fabric:/Shop/Cart: Shop.Pricing.QuoteCache.Quotes",
        "description": { "type": "doc", "version": 1 },
    } });
    Mock::given(method("POST"))
        .and(path("/rest/api/3/issue"))
        .and(body_partial_json(fields))
        .respond_with(
            ResponseTemplate::new(201).set_body_json(json!({ "id": "1", "key": "SHOP-7" })),
        )
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(path("/rest/api/3/issue/SHOP-7/comment"))
        .respond_with(ResponseTemplate::new(201).set_body_json(json!({ "id": "9" })))
        .expect(1)
        .mount(&server)
        .await;
    let tickets = jira(&server.uri(), Some("bot@shop.test"));
    let opened = send(&tickets, &told(Turn::Opened), None).await.unwrap();
    assert_eq!(opened.id.as_deref(), Some("SHOP-7"));
    let again = send(&tickets, &told(Turn::Again), Some("SHOP-7"))
        .await
        .unwrap();
    assert_eq!(again.id.as_deref(), Some("SHOP-7"));
}

#[tokio::test]
async fn jira_data_center_takes_wiki_markup_and_a_bearer_token() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/rest/api/2/search"))
        .and(header("authorization", "Bearer tok-SECRETSECRET"))
        .respond_with(
            ResponseTemplate::new(200).set_body_json(json!({ "issues": [{ "key": "SHOP-3" }] })),
        )
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(path("/rest/api/2/issue/SHOP-3/comment"))
        .respond_with(ResponseTemplate::new(201).set_body_json(json!({ "id": "9" })))
        .expect(1)
        .mount(&server)
        .await;
    let receipt = send(&jira(&server.uri(), None), &told(Turn::Opened), None)
        .await
        .unwrap();
    assert_eq!(receipt.id.as_deref(), Some("SHOP-3"));
    let requests = server.received_requests().await.unwrap();
    let comment: Value = serde_json::from_slice(&requests[1].body).unwrap();
    let text = comment["body"].as_str().unwrap();
    assert!(
        text.contains("* *How sure:* 92%, critical") && text.contains("{noformat}"),
        "{text}"
    );
}

#[tokio::test]
async fn github_and_gitlab_list_by_label_and_make_or_carry_on() {
    let server = MockServer::start().await;
    let issues = "/repos/shop/cart/issues";
    Mock::given(method("GET"))
        .and(path(issues))
        .and(query_param("labels", LABEL))
        .and(query_param("state", "open"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!([])))
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(path(issues))
        .and(body_partial_json(json!({ "labels": ["leakhound", LABEL] })))
        .respond_with(ResponseTemplate::new(201).set_body_json(json!({ "number": 12 })))
        .expect(1)
        .mount(&server)
        .await;
    let github = to(
        "github",
        Github {
            repository: "shop/cart".to_owned(),
            api: server.uri(),
            token: secret(),
        },
    );
    let receipt = send(&github, &told(Turn::Opened), None).await.unwrap();
    assert_eq!(receipt.id.as_deref(), Some("12"));
    // What is over needs no new ticket.
    let over = send(&github, &told(Turn::Resolved { version: None }), None)
        .await
        .unwrap();
    assert_eq!(over.id, None);

    let server = MockServer::start().await;
    let issues = "/api/v4/projects/shop%2Fcart/issues";
    Mock::given(method("GET"))
        .and(path(issues))
        .and(header("private-token", "tok-SECRETSECRET"))
        .and(query_param("state", "opened"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!([{ "iid": 5 }])))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(path(format!("{issues}/5/notes")))
        .respond_with(ResponseTemplate::new(201).set_body_json(json!({ "id": 1 })))
        .expect(1)
        .mount(&server)
        .await;
    let gitlab = to(
        "gitlab",
        Gitlab {
            project: "shop/cart".to_owned(),
            site: server.uri(),
            token: secret(),
        },
    );
    let receipt = send(&gitlab, &told(Turn::Opened), None).await.unwrap();
    assert_eq!(receipt.id.as_deref(), Some("5"));
}

#[tokio::test]
async fn an_answer_that_names_no_ticket_is_no_success() {
    for template in [
        ResponseTemplate::new(200).set_body_string("<html>Sign in</html>"),
        ResponseTemplate::new(200).set_body_json(json!({})),
        ResponseTemplate::new(401).set_body_json(json!({ "message": "no tok-SECRETSECRET here" })),
    ] {
        let server = MockServer::start().await;
        Mock::given(wiremock::matchers::any())
            .respond_with(template)
            .mount(&server)
            .await;
        for tickets in [
            jira(&server.uri(), Some("bot")),
            to(
                "github",
                Github {
                    repository: "shop/cart".to_owned(),
                    api: server.uri(),
                    token: secret(),
                },
            ),
        ] {
            assert!(send(&tickets, &told(Turn::Opened), None).await.is_err());
        }
    }
}

#[tokio::test]
async fn pagerduty_folds_and_closes_by_one_key() {
    let server = MockServer::start().await;
    let answer = json!({ "status": "success", "dedup_key": LABEL });
    for (action, times) in [("trigger", 2), ("resolve", 1)] {
        let event = json!({ "event_action": action, "dedup_key": LABEL, "routing_key": "tok-SECRETSECRET" });
        Mock::given(method("POST"))
            .and(body_partial_json(event))
            .respond_with(ResponseTemplate::new(202).set_body_json(&answer))
            .expect(times)
            .mount(&server)
            .await;
    }
    let pagerduty = to(
        "pagerduty",
        Pagerduty {
            routing_key: secret(),
            url: format!("{}/v2/enqueue", server.uri()),
        },
    );
    for turn in [Turn::Opened, Turn::Again, Turn::Resolved { version: None }] {
        let receipt = send(&pagerduty, &told(turn), None).await.unwrap();
        assert_eq!(receipt.id.as_deref(), Some(LABEL));
    }
}

#[tokio::test]
async fn chats_get_what_they_take_and_their_answers_are_understood() {
    let server = MockServer::start().await;
    Mock::given(path("/discord"))
        .and(query_param("wait", "true"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "id": "77" })))
        .mount(&server)
        .await;
    Mock::given(path("/google"))
        .and(query_param("key", "k"))
        .and(query_param("requestId", "lh-0123"))
        .respond_with(
            ResponseTemplate::new(200).set_body_json(json!({ "name": "spaces/a/messages/b" })),
        )
        .mount(&server)
        .await;
    Mock::given(path("/hooks/x"))
        .respond_with(ResponseTemplate::new(200).set_body_string("ok"))
        .mount(&server)
        .await;
    Mock::given(path("/slow"))
        .respond_with(ResponseTemplate::new(429).set_body_json(json!({ "retry_after": 1.5 })))
        .mount(&server)
        .await;
    let at = |path: &str| SecretSource::inline(format!("{}{path}", server.uri()));
    let told = told(Turn::Opened);
    let webhook = at("/discord");
    let receipt = send(&to("d", Discord::at(webhook)), &told, None)
        .await
        .unwrap();
    assert_eq!(receipt.id.as_deref(), Some("77"));
    let webhook = at("/google?key=k");
    let receipt = send(&to("g", GoogleChat::at(webhook)), &told, None)
        .await
        .unwrap();
    assert_eq!(receipt.id.as_deref(), Some("spaces/a/messages/b"));
    let webhook = at("/hooks/x");
    send(&to("m", Mattermost::at(webhook)), &told, None)
        .await
        .unwrap();
    let webhook = at("/discord");
    send(&to("m", Mattermost::at(webhook)), &told, None)
        .await
        .unwrap_err();
    let webhook = at("/slow");
    let failure = send(&to("d", Discord::at(webhook)), &told, None)
        .await
        .unwrap_err();
    assert_eq!(
        failure.kind,
        FailureKind::Retry(Some(std::time::Duration::from_millis(1500)))
    );
}

#[test]
fn payloads_keep_their_limits_and_call_nobody() {
    for message in [message(&leak()), message(&monstrous()), told(Turn::Again)] {
        let posts = [
            discord::payload(&message, true),
            google_chat::payload(&message, "lh-1"),
            mattermost::payload(&message, "lh-1", true),
        ];
        for (post, limit) in posts.iter().zip([20_000, 30_000, 16_383]) {
            let text = post.to_string();
            assert!(text.chars().count() <= limit, "{}", text.chars().count());
            for secret in ["hunter2", "c2lnbmF0dXJl", "\u{202e}"] {
                assert!(!text.contains(secret), "{secret} in {text}");
            }
        }
        assert_eq!(posts[0]["allowed_mentions"]["parse"], json!([]));
    }
    // In a card's paragraphs HTML is markup; in Mattermost a name in running text would call people.
    let monstrous = message(&monstrous());
    assert!(hostile_name().contains(" @here") && hostile_name().contains("<script>"));
    let card = google_chat::payload(&monstrous, "lh-1").to_string();
    assert!(
        !card.contains("<script") && !card.contains("<at>"),
        "{card}"
    );
    let post = mattermost::payload(&monstrous, "lh-1", false);
    let paragraphs = post["text"].as_str().unwrap().split("\n\n");
    let outside_code: String = paragraphs
        .filter(|p| !p.starts_with("**Owner:**"))
        .collect();
    assert!(!outside_code.contains(" @here") && !outside_code.contains("<at>"));
}

/// What a new ticket is made of, as JSON, and a comment to it.
async fn written(to: &DestinationConfig, server: &MockServer, message: &Message) -> (Value, Value) {
    send(to, message, None).await.unwrap();
    send(to, message, Some("7")).await.unwrap();
    let requests = server.received_requests().await.unwrap();
    let body = |path: &str, method: &str| {
        let request = requests
            .iter()
            .rfind(|r| r.url.path().ends_with(path) && r.method.as_str() == method)
            .unwrap_or_else(|| panic!("no {method} of {path}: {requests:?}"));
        serde_json::from_slice(&request.body).unwrap()
    };
    match to.destination.kind() {
        "azure_devops" => (
            body("/Cart/_apis/wit/workitems/$Bug", "POST"),
            body("/workItems/7/comments", "POST"),
        ),
        "servicenow" => (
            body("/api/now/table/incident", "POST"),
            body("/api/now/table/incident/7", "PATCH"),
        ),
        _ => (body("/issues.json", "POST"), body("/issues/7.json", "PUT")),
    }
}

#[tokio::test]
async fn work_items_incidents_and_issues_are_found_by_label_and_are_only_text() {
    let server = MockServer::start().await;
    let json = |body: Value| ResponseTemplate::new(200).set_body_json(body);
    // Azure DevOps: WIQL by tag, then a JSON patch.
    Mock::given(path("/shop/Cart/_apis/wit/wiql"))
        .and(query_param("api-version", "7.1"))
        .and(header("authorization", "Basic OnRvay1TRUNSRVRTRUNSRVQ="))
        .respond_with(json(json!({ "workItems": [] })))
        .mount(&server)
        .await;
    Mock::given(path("/shop/Cart/_apis/wit/workitems/$Bug"))
        .and(header("content-type", "application/json-patch+json"))
        .respond_with(json(json!({ "id": 7 })))
        .mount(&server)
        .await;
    // ServiceNow: by correlation id.
    Mock::given(method("GET"))
        .and(path("/api/now/table/incident"))
        .respond_with(json(json!({ "result": [] })))
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(path("/api/now/table/incident"))
        .respond_with(json(json!({ "result": { "sys_id": "7" } })))
        .mount(&server)
        .await;
    // Redmine: by subject.
    Mock::given(method("GET"))
        .and(path("/issues.json"))
        .and(query_param("status_id", "open"))
        .and(query_param("subject", format!("~{LABEL}")))
        .and(header("x-redmine-api-key", "tok-SECRETSECRET"))
        .respond_with(json(json!({ "issues": [] })))
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(path("/issues.json"))
        .respond_with(json(json!({ "issue": { "id": 7 } })))
        .mount(&server)
        .await;
    Mock::given(wiremock::matchers::any())
        .respond_with(json(json!({})))
        .with_priority(200)
        .mount(&server)
        .await;
    let azure = to(
        "azure",
        AzureDevops {
            organization: format!("{}/shop", server.uri()),
            project: "Cart".to_owned(),
            work_item: "Bug".to_owned(),
            area: Some("Cart\\Memory".to_owned()),
            closed: vec!["Done".to_owned()],
            token: secret(),
        },
    );
    let servicenow = to(
        "servicenow",
        Servicenow {
            site: server.uri(),
            user: Some("bot".to_owned()),
            token: secret(),
            group: Some("Shop".to_owned()),
        },
    );
    let redmine = to(
        "redmine",
        Redmine {
            site: server.uri(),
            project: "cart".to_owned(),
            tracker: Some(3),
            key: secret(),
        },
    );
    let opened = told(Turn::Opened);
    let (patch, comment) = written(&azure, &server, &opened).await;
    let field = |name: &str| {
        let path = format!("/fields/{name}");
        let all = patch.as_array().unwrap();
        let one = all.iter().find(|one| one["path"] == path).unwrap();
        assert_eq!(one["op"], "add");
        one["value"].clone()
    };
    let title = "Memory leak in fabric:/Shop/Cart: Shop.Pricing.QuoteCache.Quotes";
    assert_eq!(field("System.Title"), title);
    assert_eq!(field("System.Tags"), format!("leakhound; {LABEL}"));
    assert_eq!(field("System.AreaPath"), "Cart\\Memory");
    assert_eq!(field("Microsoft.VSTS.Common.Priority"), 1);
    assert_eq!(
        field("Microsoft.VSTS.TCM.ReproSteps"),
        field("System.Description")
    );
    assert!(
        comment["text"]
            .as_str()
            .unwrap()
            .contains("<b>How sure:</b> 92%")
    );

    let (record, update) = written(&servicenow, &server, &opened).await;
    assert_eq!(record["correlation_id"], LABEL);
    assert_eq!(record["short_description"], title);
    assert_eq!(
        (&record["urgency"], &record["assignment_group"]),
        (&"1".into(), &"Shop".into())
    );
    assert!(
        update["work_notes"]
            .as_str()
            .unwrap()
            .contains("How sure: 92%")
    );

    let (issue, update) = written(&redmine, &server, &opened).await;
    assert_eq!(issue["issue"]["project_id"], "cart");
    assert_eq!(issue["issue"]["tracker_id"], 3);
    assert_eq!(issue["issue"]["subject"], format!("{title} [{LABEL}]"));
    assert!(
        update["issue"]["notes"]
            .as_str()
            .unwrap()
            .contains("lh-0123")
    );

    let mut monstrous = message(&monstrous());
    monstrous.context.incident = opened.context.incident.clone();
    monstrous.headline = format!("[code]<b>[/code] {}", monstrous.headline);
    // Titles are plain text everywhere; these are the fields in which something is markup.
    let fields = |kind: &str, new: &Value, more: &Value| match kind {
        "azure_devops" => vec![new[1]["value"].clone(), more["text"].clone()],
        "servicenow" => vec![new["description"].clone(), more["work_notes"].clone()],
        _ => vec![
            new["issue"]["description"].clone(),
            more["issue"]["notes"].clone(),
        ],
    };
    for (system, limit) in [(&azure, 80_000), (&servicenow, 5_000), (&redmine, 32_000)] {
        let (new, more) = written(system, &server, &monstrous).await;
        let kind = system.destination.kind();
        for text in [new.to_string(), more.to_string()] {
            assert!(text.len() < limit, "{kind}: {} bytes", text.len());
            for secret in ["hunter2", "c2lnbmF0dXJl", "\u{202e}"] {
                assert!(!text.contains(secret), "{secret} to {kind}: {text}");
            }
        }
        let bad = if kind == "servicenow" {
            "[code]"
        } else {
            "<script"
        };
        for field in fields(kind, &new, &more) {
            let text = field.as_str().unwrap();
            assert!(
                text.len() > 100 && !text.contains(bad),
                "{bad} to {kind}: {text}"
            );
        }
    }
}

#[tokio::test]
async fn azure_devops_that_asks_to_sign_in_is_a_wrong_token() {
    for status in [203, 302] {
        let server = MockServer::start().await;
        Mock::given(wiremock::matchers::any())
            .respond_with(ResponseTemplate::new(status).set_body_string("<html>Sign in</html>"))
            .mount(&server)
            .await;
        let azure = AzureDevops {
            organization: server.uri(),
            project: "Cart".to_owned(),
            work_item: "Bug".to_owned(),
            area: None,
            closed: vec!["Done".to_owned()],
            token: secret(),
        };
        let failure = send(&to("azure", azure), &told(Turn::Opened), None)
            .await
            .unwrap_err();
        assert_eq!(failure.kind, FailureKind::Permanent);
        assert!(failure.reason.contains("check the token"), "{failure}");
    }
}
