"""What a run of the tests may be told."""


def pytest_addoption(parser):
    parser.addoption(
        "--complete", action="store_true", help="write the golden results of queries anew"
    )
