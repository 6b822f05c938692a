"""The gateway's own services, judged by the clients that grpcio has for them."""

import json

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import calls
from calls import ASK, SERVICE, SOON, error_of


def reflection(client, **_):
    database = ProtoReflectionDescriptorDatabase(client.channel)
    pool = descriptor_pool.DescriptorPool(database)
    report = {"services": list(database.get_services())}
    service = pool.FindServiceByName(SERVICE)
    report["methods"] = {method.name: [method.client_streaming, method.server_streaming] for method in service.methods}
    # A call with nothing but what reflection told.
    method = service.methods_by_name["One"]
    ask = message_factory.GetMessageClass(method.input_type)
    told = message_factory.GetMessageClass(method.output_type)
    call = client.channel.unary_unary(f"/{SERVICE}/One", ask.SerializeToString, told.FromString)
    report["called"] = call(ask(text="told by reflection")).text
    report["details"] = [field.name for field in pool.FindMessageTypeByName("google.rpc.ErrorInfo").fields]
    unknown = []
    for find, name in [
        (pool.FindFileByName, "no.proto"),
        (pool.FindMessageTypeByName, "no.Message"),
        (pool.FindServiceByName, "peer.calls.v1.Hidden"),
        (pool.FindMethodByName, f"{SERVICE}.Left"),
        (pool.FindServiceByName, "gamehub.v1.Catalogue"),
    ]:
        try:
            find(name)
            unknown.append(f"{name} is known")
        except KeyError:
            pass
    report["unknown"] = unknown
    return report


def reflection_v1(client, **_):
    """Every kind of question, on v1: its messages are those of v1alpha."""
    ask = client.channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    extension = reflection_pb2.ExtensionRequest
    questions = {
        "list": {"list_services": "*"},
        "file": {"file_by_filename": "peer/calls/v1/calls.proto"},
        "message": {"file_containing_symbol": "peer.calls.v1.Ask"},
        "method": {"file_containing_symbol": f"{SERVICE}.Talk"},
        "extension": {"file_containing_extension": extension(containing_type="google.protobuf.Any", extension_number=1)},
        "numbers": {"all_extension_numbers_of_type": "peer.calls.v1.Ask"},
        "numbers of none": {"all_extension_numbers_of_type": "peer.calls.v1.Nothing"},
        "nothing": {},
    }
    asked = [reflection_pb2.ServerReflectionRequest(host="here", **question) for question in questions.values()]
    report = {}
    for name, answer in zip(questions, ask(iter(asked))):
        kind = answer.WhichOneof("message_response")
        assert answer.valid_host == "here" and answer.original_request in asked
        if kind == "file_descriptor_response":
            files = [descriptor_pb2.FileDescriptorProto.FromString(f) for f in answer.file_descriptor_response.file_descriptor_proto]
            report[name] = [file.name for file in files]
        elif kind == "list_services_response":
            report[name] = [service.name for service in answer.list_services_response.service]
        elif kind == "all_extension_numbers_response":
            report[name] = list(answer.all_extension_numbers_response.extension_number)
        else:
            report[name] = [answer.error_response.error_code, answer.error_response.error_message]
    return report


def health(client, address, **_):
    stub = health_pb2_grpc.HealthStub(client.channel)
    names = {value: name for name, value in health_pb2.HealthCheckResponse.ServingStatus.items()}

    def check(service):
        return names[stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=SOON).status]

    report = {"gateway": check(""), "service": check(SERVICE)}
    report["unknown"] = error_of(lambda: check("no.Service")).code().name
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
    report["watch"] = names[next(watch).status]
    watch.cancel()

    def checked_by_the_client(service):
        """A call on a channel that wants the service to be healthy first."""
        config = {
            "loadBalancingConfig": [{"round_robin": {}}],
            "healthCheckConfig": {"serviceName": service},
        }
        client = calls.Client(address, options=[("grpc.service_config", json.dumps(config))])
        return client.one(ASK(text=service)).text

    report["client"] = checked_by_the_client(SERVICE)
    report["client of an unknown one"] = error_of(lambda: checked_by_the_client("no.Service")).code().name
    return report


if __name__ == "__main__":
    calls.main([reflection, reflection_v1, health])
