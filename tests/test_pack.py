def test_pack_is_loaded(executor):
    import nodes

    assert nodes.NODE_CLASS_MAPPINGS
