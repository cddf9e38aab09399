//! Random sequences of calls against a small model of the rules, answer by answer.
//!
//! `GLIMPSE_MODEL_SEED` repeats a run; `GLIMPSE_MODEL_ROUNDS` and `GLIMPSE_MODEL_STEPS` bound it.
//! The model (`model/rules.rs`) is the rules of image-api in the shortest form that still says
//! who may do what in which state; it shares no code with the node.

#[path = "model/rules.rs"]
mod rules;
#[path = "model/step.rs"]
mod step;

use glimpse_tests::{Client, Node, Persona, Random, Setup, eventually};
use rules::Rules;
use serde_json::Value;
use step::{Listing, Step};

/// Names that images get, few so that steps meet each other.
const PROJECTS: [&str; 3] = ["alpha", "beta", "gamma"];

fn personas() -> Vec<Persona> {
    let mut all: Vec<Persona> = PROJECTS.iter().map(|name| Persona::member(name)).collect();
    all.push(Persona::reader("alpha"));
    all.push(Persona::admin());
    all
}

fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_calls_answer_as_the_model_says() {
    let mut random = Random::from_env("GLIMPSE_MODEL_SEED");
    let rounds = number("GLIMPSE_MODEL_ROUNDS", 3);
    let steps = number("GLIMPSE_MODEL_STEPS", 400);
    let personas = personas();
    // Changes that named the record that they were made for: done, and refused.
    let (mut done, mut prevented) = (0, 0);
    for round in 0..rounds {
        let mut node = Setup::trusted()
            .set("limits.image_tag_quota", 4)
            .set("limits.image_property_quota", 3)
            .set("limits.image_member_quota", 2)
            .set("limits.user_storage_quota", "64KiB")
            .set("limits.api_limit_max", 7)
            .set("limits.limit_param_default", 7)
            .start()
            .await;
        let clients: Vec<Client> = personas.iter().map(|who| node.client_of(who)).collect();
        let mut rules = Rules::default();
        let mut trace: Vec<String> = Vec::new();
        for number in 0..steps {
            if random.one_in(150) {
                restart(&mut node, &mut random).await;
                trace.push("restart".to_owned());
            }
            let who = random.below(personas.len());
            let step = Step::random(&mut random, &rules);
            trace.push(format!("{number} {} {step:?}", personas[who].user));
            let wanted = rules.apply(&personas[who], &step);
            let answer = step.call(&clients[who]).await;
            rules.learn(&step, &answer);
            if let Step::Patch { tag: Some(_), .. } = &step {
                done += usize::from(answer.status == 200);
                prevented += usize::from(answer.status == 412);
            }
            if let Err(difference) = wanted.compare(&answer, &rules) {
                let from = trace.len().saturating_sub(40);
                panic!(
                    "seed {}, round {round}, step {number}: {difference}\nanswer {} {}\n{}",
                    random.seed,
                    answer.status,
                    answer.text(),
                    trace[from..].join("\n")
                );
            }
        }
        let mut wanted = rules.files();
        wanted.sort();
        eventually(
            "the store to hold the live images' data alone",
            async || {
                let mut files: Vec<String> = node
                    .stored_files()
                    .iter()
                    .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
                    .collect();
                files.sort();
                (files == wanted).then_some(())
            },
        )
        .await;
        everything(&clients, &personas, &rules).await;
    }
    println!("If-Match: {done} done, {prevented} prevented");
    assert!(
        rounds * steps < 4000 || (done > 0 && prevented > 0),
        "no change met a precondition: {done}, {prevented}"
    );
}

async fn restart(node: &mut Node, random: &mut Random) {
    if random.one_in(2) {
        node.kill();
    } else {
        node.stop().await;
    }
    node.restart().await;
}

/// At the end: every image as every persona, shown and listed and its bytes.
async fn everything(clients: &[Client], personas: &[Persona], rules: &Rules) {
    for (client, who) in clients.iter().zip(personas) {
        for (sort, limit, query) in [
            (None, 3, "limit=3"),
            (Some(("id", true)), 3, "sort=id:asc&limit=3"),
            (Some(("name", true)), 2, "sort=name:asc&limit=2"),
            (Some(("size", false)), 5, "sort=size&limit=5"),
        ] {
            let listing = Listing {
                sort,
                limit,
                ..Listing::default()
            };
            let listed = client.list_all(query).await;
            let wanted = rules.walked(who, &listing);
            assert_eq!(listed, wanted, "{} {query}", who.user);
        }
        for id in rules.ids() {
            let shown = client.show(&id).await;
            let Some(image) = rules.visible(who, &id) else {
                assert_eq!(shown.status, 404, "{} {id}", who.user);
                continue;
            };
            let shown: Value = shown.expect(200).json();
            image
                .compare(&shown)
                .unwrap_or_else(|difference| panic!("{difference}: {shown}"));
        }
    }
}
