//! The store: the same promises on both databases.

use crate::world::Caller;

both! {
    async fn an_unknown_url_is_a_problem_and_not_a_page(world) {
        world.get("/v1/nothing", &Caller::Nobody).await.refused(404, "no_route");
        assert_eq!(world.get("/livez", &Caller::Nobody).await.status, 200);
    }
}
