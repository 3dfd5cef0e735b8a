import torch

from attacks.predict import predict


def test_predictions_are_those_in_eval_mode_and_leave_no_trace(network):
    model = network()
    images = torch.randint(0, 256, (150, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(images.float() / 255).argmax(dim=1)
    model.train()
    before = torch.get_rng_state()
    assert torch.equal(predict(model, images), expected)
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)


def test_no_images_no_predictions(network):
    found = predict(network(), torch.zeros(0, 3, 12, 12))
    assert found.shape == (0,)
    assert found.dtype == torch.int64


def test_segmentation_gives_masks(bright, images):
    assert torch.equal(predict(bright, images), (images.sum(1) > 1.5).long())
