"""INSTINCT: its perceptron and its bounds against torch, and what it tries against a plain reference."""

import numpy as np
import pytest
import torch

from pdt_lightning.tuners import NeuralUCB, RandomSearch
from pdt_lightning.tuners.neural_ucb import Perceptron
from pdt_lightning.tuners.outlook import Outlook


def as_torch(model, parameters):
    """The same perceptron, of a vector of parameters, in double precision."""
    w1, b1, w2, b2 = (torch.from_numpy(part.copy()) for part in model.parts(parameters))
    net = torch.nn.Sequential(torch.nn.Linear(len(w1), 100), torch.nn.ReLU(), torch.nn.Linear(100, 1)).double()
    for parameter, values in zip(net.parameters(), (w1.T, b1, w2[None], b2), strict=True):
        parameter.data = values.clone()
    return net


def in_order(net):
    """Gradients of torch's parameters, in the order of our vector."""
    w1, b1, w2, b2 = (parameter.grad for parameter in net.parameters())
    return torch.cat([w1.T.flatten(), b1, w2.flatten(), b2]).numpy()


def gradients(net, inputs):
    found = []
    for row in inputs:
        net.zero_grad()
        net(row)[0].backward()
        found.append(in_order(net))
    return np.array(found)


def trained(net, inputs, targets):
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=0.1 / len(targets))
    for _ in range(1000):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(net(inputs)[:, 0], targets).backward()
        optimizer.step()


def test_the_perceptron_against_torch():
    rng = np.random.default_rng(0)
    model, inputs, targets = Perceptron(4, rng), rng.normal(size=(9, 4)), rng.random(9)
    assert model.first.shape == (601,)
    assert model.first.std() == pytest.approx(1, abs=0.1)
    model.fit(inputs, targets)
    net = as_torch(model, model.first)
    trained(net, torch.from_numpy(inputs), torch.from_numpy(targets))
    others = rng.normal(size=(20, 4))
    assert model(others) == pytest.approx(net(torch.from_numpy(others))[:, 0].detach().numpy(), abs=1e-6)
    assert (
        np.square(model(inputs) - targets).mean()
        < np.square(as_torch(model, model.first)(torch.from_numpy(inputs))[:, 0].detach().numpy() - targets).mean()
    )
    known = 0.1 + rng.random(601)
    own = gradients(net, torch.from_numpy(others))
    assert model.gradient(others[3]) == pytest.approx(own[3], abs=1e-6)
    assert model.deviations(others, known) == pytest.approx(np.sqrt((np.square(own) / known).sum(axis=1)), rel=1e-6)


def test_what_it_tries_against_a_plain_reference(segments):
    """Random prompts, then the highest mu + sqrt(0.1 sum g^2 / U), with U growing by the square of what was chosen."""
    features = np.random.default_rng(1).normal(size=(len(segments), 3))
    tuner = NeuralUCB(segments, 6, np.random.default_rng(2), 1, features, starts=4)
    tuner.outlook = Outlook(worst=-1.0, demonstrated=3.0)  # which are 0 and 1
    model, widened, tried, values = tuner.model, np.full(501, 0.1), [], []
    for number in range(6):
        if number >= 4:
            seen = features[tried]
            inputs = torch.from_numpy((features - seen.mean(axis=0)) / seen.std(axis=0, ddof=1))
            net = as_torch(model, model.first)
            trained(net, inputs[tried], torch.from_numpy((np.array(values) + 1) / 4))
            own = gradients(net, inputs)
            bounds = net(inputs)[:, 0].detach().numpy() + np.sqrt((0.1 * np.square(own) / widened).sum(axis=1))
            expected = int(bounds.argmax())
            widened += np.square(own[expected])
        (one,) = tuner.ask()
        if number >= 4:
            assert one.choice == (expected,)
        tried.append(one.choice[0])
        values.append(float(np.sin(3 * tried[-1])))
        tuner.tell([(one.id, values[-1])])
    assert tuner.known == pytest.approx(widened, rel=1e-5)


def test_slots_lie_side_by_side(segments):
    features = np.random.default_rng(1).normal(size=(len(segments), 3))
    tuner = NeuralUCB(segments, 7, np.random.default_rng(2), 2, features, starts=2)
    assert tuner.space.choices.shape == (10_000, 2)
    tuner.tell([(one.id, float(one.id)) for one in tuner.ask(2)])
    first, second = (np.concatenate(features[list(tuner.space.made_of(choice))]) for choice in tuner.choices)
    (_, scaled) = tuner._inputs([tuner.choices[0][0], tuner.choices[1][0]])
    half = (second - first) / 2
    assert scaled == pytest.approx(half / (np.abs(half) * np.sqrt(2)))
    (one,) = tuner.ask()
    assert len(one.choice) == 2


def test_forty_random_prompts_come_first(segments):
    tuner = NeuralUCB(segments, 50, np.random.default_rng(0), 1, np.zeros((len(segments), 2)))
    fits = []
    tuner.model.fit = lambda inputs, targets: fits.append(len(targets))
    while candidates := tuner.ask():
        tuner.tell([(one.id, 0.0) for one in candidates])
    assert fits == list(range(40, 50))


def test_what_is_open_narrows_its_own_bound(segments):
    features = np.random.default_rng(1).normal(size=(len(segments), 3))
    tuner = NeuralUCB(segments, 30, np.random.default_rng(2), 1, features, starts=5)
    tuner.tell([(one.id, float(one.choice[0] % 3)) for one in tuner.ask(5)])
    before = tuner.known.copy()
    assert len({one.choice for one in tuner.ask(4)}) > 1
    assert (tuner.known >= before).all()
    assert (tuner.known > before).any()


def test_the_best_of_those_tried_is_recommended_and_a_failure_is_the_worst(segments):
    features = np.random.default_rng(1).normal(size=(len(segments), 3))
    tuner = NeuralUCB(segments, 8, np.random.default_rng(2), 1, features, starts=4)
    while candidates := tuner.ask():
        tuner.tell([(one.id, None if one.id in (1, 6) else float(one.id == 3)) for one in candidates])
    assert tuner.best().choice[0] == tuner.choices[3][0] or tuner.choices.count(tuner.choices[3]) > 1
    assert tuner.outcomes[1] == tuner.outcomes[6] == 0.0


def test_it_beats_random_search_where_features_tell(segments):
    """The worth of a prompt is one of two features, under noise; the mean over three seeds."""
    features = np.random.default_rng(5).normal(size=(len(segments), 2))

    def found(make):
        worths = []
        for seed in range(3):
            tuner, noise = make(np.random.default_rng(seed)), np.random.default_rng(50 + seed)
            while candidates := tuner.ask():
                tuner.tell([(one.id, features[one.choice[0], 0] + 0.3 * noise.normal()) for one in candidates])
            worths.append(features[tuner.best().choice[0], 0])
        return float(np.mean(worths))

    ours = found(lambda rng: NeuralUCB(segments, 14, rng, 1, features, starts=6))
    assert ours > found(lambda rng: RandomSearch(segments, 14, rng, 1))
