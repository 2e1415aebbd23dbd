import pyarrow as pa

def encode_rows(
    batch: pa.RecordBatch, times: str = "iso", nan: str = "null"
) -> pa.LargeBinaryArray: ...
def encode_values(
    array: pa.Array, times: str = "iso", nan: str = "null"
) -> pa.LargeBinaryArray: ...
