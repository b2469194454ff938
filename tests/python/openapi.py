"""Prints what is wrong with an OpenAPI document, as a JSON list of texts."""

import json
import sys

from openapi_spec_validator import OpenAPIV31SpecValidator

with open(sys.argv[1], encoding="utf-8") as file:
    document = json.load(file)
print(json.dumps([error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]))
