def test_a(bundle, gformer, data, tmp_path):
    r = gformer("evaluate", "--model", bundle, "--target", data/"targets", "--batch-size", 8)
    print(r.out, r.err)
    r = gformer("adapt", "--model", bundle, "--target", data/"targets", "--batch-size", 8, "--out", tmp_path/"a.csv")
    print(r.out, r.err)
    print((tmp_path/"a.csv").read_text()[:300])
