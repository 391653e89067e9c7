"""Whether a posted graph can be run: ComfyUI's answers of 0.3.64 as they were recorded (F2, F3, F5)."""

import traceback

import nodes

# Lists longer than this are not repeated in an error.
LONGEST_SHOWN_LIST = 20


def failure(kind, message, details, **extra_info):
    return {"type": kind, "message": message, "details": details, "extra_info": extra_info}


def validate(graph, targets=None):
    """(error or None, output nodes that can run, errors by node). Raises where ComfyUI answers 500."""
    outputs = []
    for node_id in graph:
        if "class_type" not in graph[node_id]:
            message = "Cannot execute because a node is missing the class_type property."
            return failure("invalid_prompt", message, f"Node ID '#{node_id}'"), [], {}
        class_type = graph[node_id]["class_type"]
        cls = nodes.NODE_CLASS_MAPPINGS.get(class_type)
        if cls is None:
            message = f"Cannot execute because node {class_type} does not exist."
            return failure("invalid_prompt", message, f"Node ID '#{node_id}'"), [], {}
        if getattr(cls, "OUTPUT_NODE", False) is True and (targets is None or node_id in targets):
            outputs.append(node_id)
    if not outputs:
        return failure("prompt_no_outputs", "Prompt has no outputs", ""), [], {}

    verdicts, good, reasons, node_errors = {}, [], [], {}
    for output in outputs:
        try:
            is_valid, errors = _check_node(graph, output, verdicts, set())
        except Exception as error:
            is_valid, errors = False, [_exception("during_validation", "node", error)]
            verdicts[output] = (is_valid, errors)
        if is_valid:
            good.append(output)
            continue
        reasons.extend(errors)
        for node_id, (is_good, found) in verdicts.items():
            if is_good or not found:
                continue
            entry = {"errors": found, "dependent_outputs": [], "class_type": graph[node_id]["class_type"]}
            node_errors.setdefault(node_id, entry)["dependent_outputs"].append(output)
    if good:
        return None, good, node_errors
    details = "\n".join(f"{error['message']}: {error['details']}" for error in reasons)
    return failure("prompt_outputs_failed_validation", "Prompt outputs failed validation", details), [], node_errors


def _exception(kind, what, error, **extra_info):
    return failure(
        f"exception_{kind}",
        f"Exception when validating {what}",
        str(error),
        exception_type=type(error).__name__,
        traceback=traceback.format_tb(error.__traceback__),
        **extra_info,
    )


def _check_node(graph, node_id, verdicts, walking):
    if node_id in verdicts:
        return verdicts[node_id]
    # A circle: refused without evidence (F3).
    if node_id in walking:
        return False, []
    walking.add(node_id)
    node = graph[node_id]
    cls = nodes.NODE_CLASS_MAPPINGS[node["class_type"]]
    inputs = node["inputs"]
    custom = getattr(cls, "VALIDATE_INPUTS", None)
    checked_by_class = set() if custom is None else set(custom.__code__.co_varnames[1 : custom.__code__.co_argcount])
    errors, is_valid = [], True
    declared = cls.INPUT_TYPES()
    for group in ["required", "optional"]:
        for name, spec in declared.get(group, {}).items():
            if name not in inputs:
                if group == "required":
                    errors.append(failure("required_input_missing", "Required input is missing", name, input_name=name))
                continue
            config = [spec[0], spec[1] if len(spec) > 1 else {}]
            if isinstance(inputs[name], list):
                found, is_source_valid = _check_link(graph, name, inputs[name], config, verdicts, walking)
                is_valid = is_valid and is_source_valid
            else:
                found = _check_value(inputs, name, config, name not in checked_by_class)
            if found is not None:
                errors.append(found)
    if custom is not None:
        given = {name: inputs[name] for name in checked_by_class if name in inputs and not isinstance(inputs[name], list)}
        if len(given) == len(checked_by_class):
            answer = custom(**given)
            if answer is not True:
                for name in given:
                    details = f"{name} - {answer}"
                    message = "Custom validation failed for node"
                    errors.append(failure("custom_validation_failed", message, details, input_name=name))
    walking.discard(node_id)
    verdicts[node_id] = (is_valid and not errors, errors)
    return verdicts[node_id]


def types_match(received, wanted):
    if not isinstance(wanted, str):
        return False
    if received == wanted or "*" in (received, wanted):
        return True
    return bool({one.strip() for one in received.split(",")} & {one.strip() for one in wanted.split(",")})


def _check_link(graph, name, value, config, verdicts, walking):
    """(error or None, whether what it comes from is valid)."""
    about = {"input_name": name, "input_config": config}
    if len(value) != 2:
        message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
        return failure("bad_linked_input", message, name, received_value=value, **about), True
    source = value[0]
    received = nodes.NODE_CLASS_MAPPINGS[graph[source]["class_type"]].RETURN_TYPES[value[1]]
    if not types_match(received, config[0]):
        details = f"{name}, received_type({received}) mismatch input_type({config[0]})"
        message = "Return type mismatch between linked nodes"
        return failure("return_type_mismatch", message, details, received_type=received, linked_node=value, **about), True
    try:
        return None, _check_node(graph, source, verdicts, walking)[0]
    except Exception as error:
        found = _exception("during_inner_validation", "inner node", error, exception_message=str(error), linked_node=value, **about)
        verdicts[source] = (False, [found])
        return None, False


CONVERTERS = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


def _check_value(inputs, name, config, is_checked):
    """Converts a value in place and holds it against range and choices; None when all is well."""
    kind, options = config
    value = inputs[name]
    try:
        if isinstance(value, dict) and "__value__" in value:
            value = value["__value__"]
        if isinstance(kind, str) and kind in CONVERTERS:
            value = CONVERTERS[kind](value)
        inputs[name] = value
    except Exception as error:
        return failure(
            "invalid_input_type",
            f"Failed to convert an input value to a {kind} value",
            f"{name}, {value}, {error}",
            input_name=name,
            input_config=config,
            received_value=value,
            exception_message=str(error),
        )
    if not is_checked:
        return None
    about = {"input_name": name, "input_config": config, "received_value": value}
    if "min" in options and value < options["min"]:
        message = f"Value {value} smaller than min of {options['min']}"
        return failure("value_smaller_than_min", message, name, **about)
    if "max" in options and value > options["max"]:
        message = f"Value {value} bigger than max of {options['max']}"
        return failure("value_bigger_than_max", message, name, **about)
    if isinstance(kind, list) and value not in kind:
        is_long = len(kind) > LONGEST_SHOWN_LIST
        shown = f"(list of length {len(kind)})" if is_long else str(kind)
        about["input_config"] = None if is_long else config
        return failure("value_not_in_list", "Value not in list", f"{name}: '{value}' not in {shown}", **about)
    return None
