"""PROTOCOL 11: recommend, discover, context and feedback, by every metric, on dense, sparse and multivectors."""

import math

import numpy as np
import pytest
from qdrant_client import grpc as pb

from figures import EPSILON, check, check_any_order, fsig, ids, invalid_query, larger_is_better, pairs, ranked, refuses, shown, sim, ssig, unit
from rules import grpc_only
from wire import Part, Refusal, invalid, wrong_input

RULES = {
    "11.1 average": "average_vector (the default): mean of the positives mirrored at the negatives' mean, then a plain search",
    "11.1 average_sparse": "per index over the union, mean over the count of vectors",
    "11.1 average_multi": "rows of the positives and negated rows of the negatives",
    "11.1 average_needs": "a positive is needed",
    "11.2": "best_score",
    "11.3": "sum_scores",
    "11.4": "best and sum work with negatives only; neither is refused",
    "11.5": "discover",
    "11.6": "context",
    "11.7": "relevance feedback, naive strategy",
    "11.8": "sparse: points without overlap count as 0 and are returned",
    "11.9 nan": grpc_only("NaN is refused"),
    "11.9 infinite": grpc_only("infinite similarities pass through the sigmoids"),
}

METRICS = ("Dot", "Cosine", "Euclid", "Manhattan")
#: No two alike in any score below; none of length one.
POINTS = {1: [1.53, 0.21], 2: [0.34, 2.17], 3: [-1.22, 0.79], 4: [0.91, -1.16], 5: [-0.45, -2.38], 6: [2.63, 1.72]}
#: As given in queries, not stored.
A, B, C = [0.8, 0.5], [-0.6, 0.9], [0.1, -1.3]
SPARSE = {1: {1: 1.0, 2: 2.0}, 2: {2: 0.5, 3: 3.0}, 3: {3: 1.5}, 4: {9: 1.0}, 5: {1: -2.0, 9: 4.0}}
MULTI = {1: [[1, 0], [0, 1]], 2: [[2, 1]], 3: [[-1, 1], [1, -2], [0.5, 0.5]]}


@pytest.fixture(scope="module")
def examples(rest, make):
    """`POINTS` under each metric; `SPARSE` as `s`; `MULTI` as `m`, under Dot."""
    dense = {metric: {"size": 2, "distance": metric} for metric in METRICS}
    multi = {"m": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}}
    name = make(dense | multi, sparse_vectors={"s": {}}, shard_number=2)
    for id, point in POINTS.items():
        vector = dict.fromkeys(METRICS, point)
        if id in SPARSE:
            vector["s"] = sparse(SPARSE[id])
        if id in MULTI:
            vector["m"] = MULTI[id]
        rest.put(name, (id, vector))
    return name


def sparse(entries):
    return {"indices": list(entries), "values": list(entries.values())}


def search(wire, name, query, using, **more):
    return wire.query(name, {"query": query, "using": using, "limit": 20} | more)


def stored(metric, id):
    """The vector of a point as it is stored."""
    return unit(POINTS[id]) if metric == "Cosine" else np.array(POINTS[id])


def scored(metric, formula, without=()):
    """(id, score) of the points by a custom formula of sim(example)."""
    scores = {id: formula(lambda example: sim(metric, example, point)) for id, point in POINTS.items() if id not in without}
    return ranked(scores)


def nearest(metric, query, without=()):
    """(id, score) of a plain search."""
    scores = {id: shown(metric, sim(metric, query, point)) for id, point in POINTS.items() if id not in without}
    return ranked(scores, reverse=larger_is_better(metric))


def recommend(positive=(), negative=(), strategy=None):
    body = {"positive": list(positive), "negative": list(negative), "strategy": strategy}
    return {"recommend": {key: value for key, value in body.items() if value is not None}}


@pytest.mark.parametrize("metric", METRICS)
def test_11_1_average_of_positives_alone_is_their_mean(wire, examples, metric):
    for strategy in (None, "average_vector"):
        check(search(wire, examples, recommend([A, B], strategy=strategy), metric), nearest(metric, np.mean([A, B], axis=0)))


@pytest.mark.parametrize("metric", METRICS)
def test_11_1_average_is_mirrored_at_the_mean_of_the_negatives(wire, examples, metric):
    # Two positives and three negatives: both means count once.
    target = 2 * np.mean([A, B], axis=0) - np.mean([C, A, C], axis=0)
    check(search(wire, examples, recommend([A, B], [C, A, C]), metric), nearest(metric, target))


@pytest.mark.parametrize("metric", METRICS)
def test_11_1_average_takes_points_as_stored_and_vectors_as_given(wire, examples, metric):
    # Under Cosine point 6 comes in with length one, A with its own.
    target = 2 * np.mean([stored(metric, 6), A], axis=0) - stored(metric, 3)
    check(search(wire, examples, recommend([6, A], [3]), metric), nearest(metric, target, without=(6, 3)))


@pytest.mark.parametrize("metric", METRICS)
def test_11_1_average_is_cut_by_a_threshold_like_a_plain_search(wire, examples, metric):
    everything = nearest(metric, A)
    threshold = everything[2][1]
    hits = search(wire, examples, recommend([A]), metric, score_threshold=(threshold + everything[3][1]) / 2)
    check(hits, everything[:3])


def test_11_1_average_sparse_counts_vectors_not_those_that_have_the_index(wire, examples):
    positive, negative = [{1: 2.0, 2: 1.0}, {2: 3.0}], [{3: 1.0}]
    # Means: {1: 1, 2: 2} and {3: 1}; mirrored {1: 2, 2: 4, 3: -1}.
    query = recommend([sparse(one) for one in positive], [sparse(one) for one in negative])
    want = {id: sim(None, {1: 2.0, 2: 4.0, 3: -1.0}, point) for id, point in SPARSE.items() if id != 4}
    check(search(wire, examples, query, "s"), ranked(want))


def test_11_1_average_multi_is_all_rows_those_of_negatives_negated(wire, examples):
    query = recommend([[[1, 2]], [[0, 1], [1, 1]]], [[[2, 0]]])
    rows = [[1, 2], [0, 1], [1, 1], [-2, 0]]
    check(search(wire, examples, query, "m"), ranked({id: sim("Dot", rows, point) for id, point in MULTI.items()}))


def test_11_1_average_needs_a_positive(wire, examples):
    text = "Positive vectors should not be empty with `average` strategy"
    for query in (recommend([], [A]), recommend([], [1], "average_vector")):
        refuses(wire, wrong_input(text), examples, {"query": query, "using": "Dot"})


@pytest.mark.parametrize("metric", METRICS)
def test_11_2_best_score_is_the_better_side_through_the_sigmoid(wire, examples, metric):
    def formula(s):
        positive, negative = max(s(A), s(stored(metric, 2))), max(s(B), s(C))
        return ssig(positive) if positive > negative else -ssig(negative)

    check(search(wire, examples, recommend([A, 2], [B, C], "best_score"), metric), scored(metric, formula, without=(2,)))


@pytest.mark.parametrize("metric", METRICS)
def test_11_2_best_score_of_equal_sides_is_the_negatives(wire, examples, metric):
    hits = search(wire, examples, recommend([A], [A], "best_score"), metric)
    check(hits, scored(metric, lambda s: -ssig(s(A))))


@pytest.mark.parametrize("metric", METRICS)
def test_11_3_sum_scores_is_the_difference_of_sums(wire, examples, metric):
    formula = lambda s: s(A) + s(stored(metric, 2)) - s(B) - s(C)
    check(search(wire, examples, recommend([A, 2], [B, C], "sum_scores"), metric), scored(metric, formula, without=(2,)))


@pytest.mark.parametrize("metric", METRICS)
def test_11_4_negatives_alone_are_enough_for_best_and_sum(wire, examples, metric):
    best = scored(metric, lambda s: -ssig(max(s(A), s(B))))
    check(search(wire, examples, recommend([], [A, B], "best_score"), metric), best)
    check(search(wire, examples, recommend([], [A, B], "sum_scores"), metric), scored(metric, lambda s: -s(A) - s(B)))


@pytest.mark.parametrize("strategy", ["best_score", "sum_scores"])
def test_11_4_neither_is_refused(wire, examples, strategy):
    query = recommend([], [], strategy)
    refusal = invalid(Part("At least one positive or negative vector or id is required"), Part("At least one positive or negative vector"))
    refuses(wire, refusal, examples, {"query": query, "using": "Dot"})


@pytest.mark.parametrize("metric", METRICS)
def test_11_5_discover_counts_pairs_and_adds_the_target(wire, examples, metric):
    def formula(s):
        side = lambda positive, negative: (s(positive) > s(negative)) - (s(positive) < s(negative))
        return side(A, B) + side(C, stored(metric, 4)) + side(B, B) + ssig(s(C))

    context = [{"positive": A, "negative": B}, {"positive": C, "negative": 4}, {"positive": B, "negative": B}]
    query = {"discover": {"target": C, "context": context}}
    check(search(wire, examples, query, metric), scored(metric, formula, without=(4,)))


@pytest.mark.parametrize("metric", METRICS)
def test_11_5_discover_without_context_is_the_targets_sigmoid(wire, examples, metric):
    query = {"discover": {"target": 2, "context": []}}
    check(search(wire, examples, query, metric), scored(metric, lambda s: ssig(s(stored(metric, 2))), without=(2,)))


@pytest.mark.parametrize("metric", METRICS)
def test_11_6_context_is_what_the_pairs_on_the_wrong_side_cost(wire, examples, metric):
    formula = lambda s: fsig(min(s(A) - s(B) - EPSILON, 0)) + fsig(min(s(stored(metric, 5)) - s(C) - EPSILON, 0))
    query = {"context": [{"positive": A, "negative": B}, {"positive": 5, "negative": C}]}
    want = scored(metric, formula, without=(5,))
    hits = search(wire, examples, query, metric)
    # Several may be at 0, the best there is.
    check_any_order(hits, want)
    assert [score for _, score in pairs(hits)] == sorted((score for _, score in pairs(hits)), reverse=True)
    assert max(score for _, score in pairs(hits)) <= 0


@pytest.mark.parametrize("metric", METRICS)
def test_11_7_feedback_weighs_every_ordered_pair(wire, examples, metric):
    a, b, c = 0.7, 1.5, 0.4
    rated = [(A, 0.9), (B, 0.2), (stored(metric, 3), 0.9), (C, -0.5)]

    def formula(s):
        gain = lambda i, j: (rated[i][1] - rated[j][1]) ** b * c * (s(rated[i][0]) - s(rated[j][0]))
        places = range(len(rated))
        return a * s(B) + sum(gain(i, j) for i in places for j in places if rated[i][1] > rated[j][1])

    feedback = [{"example": example, "score": score} for example, score in zip([A, B, 3, C], [0.9, 0.2, 0.9, -0.5])]
    query = {"relevance_feedback": {"target": B, "feedback": feedback, "strategy": {"naive": {"a": a, "b": b, "c": c}}}}
    check(search(wire, examples, query, metric), scored(metric, formula, without=(3,)))


def test_11_6_context_counts_an_equal_pair_as_a_little_wrong(wire, examples):
    hits = search(wire, examples, {"context": {"positive": A, "negative": A}}, "Dot")
    assert [score for _, score in pairs(hits)] == [pytest.approx(-EPSILON, rel=1e-3)] * len(POINTS)


def feedback_query(feedback, a=1.0, b=1.0, c=1.0):
    return {"relevance_feedback": {"target": A, "feedback": feedback, "strategy": {"naive": {"a": a, "b": b, "c": c}}}}


def test_11_7_feedback_of_one_example_has_no_pair(wire, examples):
    hits = search(wire, examples, feedback_query([{"example": B, "score": 5}], a=2.0), "Dot")
    check(hits, scored("Dot", lambda s: 2 * s(A)))


def test_11_7_feedback_must_not_be_empty(wire, examples):
    failure = "query.relevance_feedback.feedback: feedback elements must be non-empty"
    refuses(wire, invalid_query(failure), examples, {"query": feedback_query([]), "using": "Dot"})


def test_11_7_feedback_weights_a_and_b_are_not_negative(wire, examples):
    item = [{"example": B, "score": 1}]
    for name in ("a", "b"):
        failure = f"query.relevance_feedback.strategy.naive.{name}: value -1.0 invalid, must be 0.0 or larger"
        refuses(wire, invalid_query(failure), examples, {"query": feedback_query(item, **{name: -1.0}), "using": "Dot"})
    assert len(search(wire, examples, feedback_query(item, a=0.0, b=0.0, c=-1.0), "Dot")) == len(POINTS)


def test_11_8_sparse_points_without_overlap_count_as_zero_and_are_found(wire, examples):
    p, n = {1: 1.0}, {3: 2.0}
    s = lambda point, example: sim(None, example, point)
    best = lambda point: ssig(s(point, p)) if s(point, p) > s(point, n) else -ssig(s(point, n))
    side = lambda point: (s(point, p) > s(point, n)) - (s(point, p) < s(point, n))
    gain = lambda point: s(point, p) + (2 - 1) * 1 * (s(point, n) - s(point, p))
    pair = [{"positive": sparse(p), "negative": sparse(n)}]
    feedback = [{"example": sparse(n), "score": 2}, {"example": sparse(p), "score": 1}]
    cases = [
        (recommend([sparse(p)], [sparse(n)], "best_score"), best),
        (recommend([sparse(p)], [sparse(n)], "sum_scores"), lambda point: s(point, p) - s(point, n)),
        ({"discover": {"target": sparse(p), "context": pair}}, lambda point: side(point) + ssig(s(point, p))),
        ({"context": pair}, lambda point: fsig(min(s(point, p) - s(point, n) - EPSILON, 0))),
        ({"relevance_feedback": {"target": sparse(p), "feedback": feedback, "strategy": {"naive": {"a": 1, "b": 1, "c": 1}}}}, gain),
    ]
    for query, formula in cases:
        want = {id: formula(point) for id, point in SPARSE.items()}
        check_any_order(search(wire, examples, query, "s"), want.items())


def test_11_8_sparse_average_is_a_plain_search_and_finds_overlap_only(wire, examples):
    assert ids(search(wire, examples, recommend([sparse({9: 1.0})]), "s")) == [5, 4]


def test_11_9_nan_is_refused(grpc, examples):
    """JSON has no NaN."""
    nan = pb.VectorInput(dense=pb.DenseVector(data=[math.nan, 1.0]))
    good = pb.VectorInput(dense=pb.DenseVector(data=[1.0, 1.0]))
    pair = pb.ContextInputPair(positive=good, negative=nan)
    naive = pb.FeedbackStrategy(naive=pb.NaiveFeedbackStrategy(a=1, b=1, c=1))
    for query in (
        pb.Query(nearest=nan),
        pb.Query(nearest_with_mmr=pb.NearestInputWithMmr(nearest=nan, mmr=pb.Mmr())),
        pb.Query(recommend=pb.RecommendInput(positive=[good, nan])),
        pb.Query(recommend=pb.RecommendInput(positive=[good], negative=[nan], strategy=pb.RecommendStrategy.BestScore)),
        pb.Query(discover=pb.DiscoverInput(target=nan, context=pb.ContextInput())),
        pb.Query(discover=pb.DiscoverInput(target=good, context=pb.ContextInput(pairs=[pair]))),
        pb.Query(context=pb.ContextInput(pairs=[pair])),
        pb.Query(relevance_feedback=pb.RelevanceFeedbackInput(target=good, feedback=[pb.FeedbackItem(example=nan, score=1)], strategy=naive)),
        pb.Query(relevance_feedback=pb.RelevanceFeedbackInput(target=good, feedback=[pb.FeedbackItem(example=good, score=math.nan)], strategy=naive)),
    ):
        with grpc.refuses(Refusal(400, "INVALID_ARGUMENT", Part(""))):
            grpc.send("Query", pb.QueryPoints(collection_name=examples, query=query, using="Dot"))


def test_11_9_infinite_similarities_pass_through_the_sigmoids(grpc, make):
    """JSON has no infinity, so only a message can show it."""
    name = make(2)
    grpc.put(name, (1, [3e38, 0]), (2, [1, 0]), (3, [-3e38, 0]))
    # sim to the positive: infinite, 3e38, minus infinite; to the negative always 0.
    best = grpc.query(name, {"query": recommend([[3e38, 0]], [[0, 1]], "best_score")})
    assert pairs(best) == [(1, math.inf), (2, 1.0), (3, -0.5)]
    discover = grpc.query(name, {"query": {"discover": {"target": [3e38, 0], "context": []}}})
    assert [id for id, _ in pairs(discover)] == [1, 2, 3]
    assert [score for _, score in pairs(discover)] == [math.inf, 1.0, -math.inf]
    context = grpc.query(name, {"query": {"context": [{"positive": [3e38, 0], "negative": [0, 1]}]}})
    assert pairs(context)[-1] == (3, -math.inf)
