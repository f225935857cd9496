// A gRPC server on grpc++ that sends back the bytes it got: what HTTP/2 and gRPC alone cost in C++.
// No protobuf, no model, no check. grpc++'s three ways to serve a unary method, all on raw bytes:
// `async` is one completion queue on one thread, the fastest on one core; `sync` is what its tutorial
// teaches.
//
//   echo async|callback|sync HOST:PORT [CERTIFICATE KEY]
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/method_handler.h>
#include <grpcpp/impl/codegen/rpc_method.h>
#include <grpcpp/impl/codegen/server_callback_handlers.h>
#include <grpcpp/impl/codegen/service_type.h>
#include <grpcpp/support/async_unary_call.h>
#include <grpcpp/support/byte_buffer.h>

namespace {

constexpr char kMethod[] = "/inference.GRPCInferenceService/ModelInfer";
constexpr int kOpen = 256;  // calls that wait for a request

// What protoc generates as `WithRawMethod_ModelInfer`.
class AsyncEcho : public grpc::Service {
 public:
  AsyncEcho() {
    AddMethod(new grpc::internal::RpcServiceMethod(kMethod, grpc::internal::RpcMethod::NORMAL_RPC,
                                                   nullptr));
    MarkMethodRaw(0);
  }
  void Request(grpc::ServerContext* context, grpc::ByteBuffer* message,
               grpc::ServerAsyncResponseWriter<grpc::ByteBuffer>* writer,
               grpc::ServerCompletionQueue* queue, void* tag) {
    RequestAsyncUnary(0, context, message, writer, queue, queue, tag);
  }
};

class AsyncCall {
 public:
  AsyncCall(AsyncEcho* service, grpc::ServerCompletionQueue* queue)
      : service_(service), queue_(queue) {
    Listen();
  }
  void Proceed(bool is_ok) {
    if (is_answering_ || !is_ok) {
      if (is_ok) Listen();
      return;
    }
    is_answering_ = true;
    writer_->Finish(message_, grpc::Status::OK, this);
  }

 private:
  void Listen() {
    is_answering_ = false;
    context_ = std::make_unique<grpc::ServerContext>();
    writer_ = std::make_unique<grpc::ServerAsyncResponseWriter<grpc::ByteBuffer>>(context_.get());
    message_.Clear();
    service_->Request(context_.get(), &message_, writer_.get(), queue_, this);
  }
  AsyncEcho* service_;
  grpc::ServerCompletionQueue* queue_;
  std::unique_ptr<grpc::ServerContext> context_;
  std::unique_ptr<grpc::ServerAsyncResponseWriter<grpc::ByteBuffer>> writer_;
  grpc::ByteBuffer message_;
  bool is_answering_ = false;
};

// What protoc generates as `WithRawCallbackMethod_ModelInfer`.
class CallbackEcho : public grpc::Service {
 public:
  CallbackEcho() {
    AddMethod(new grpc::internal::RpcServiceMethod(kMethod, grpc::internal::RpcMethod::NORMAL_RPC,
                                                   nullptr));
    MarkMethodRawCallback(
        0, new grpc::internal::CallbackUnaryHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
               [](grpc::CallbackServerContext* context, const grpc::ByteBuffer* message,
                  grpc::ByteBuffer* answer) {
                 *answer = *message;
                 auto* reactor = context->DefaultReactor();
                 reactor->Finish(grpc::Status::OK);
                 return reactor;
               }));
  }
};

// What protoc generates as `Service`.
class SyncEcho : public grpc::Service {
 public:
  SyncEcho() {
    using Handler = grpc::internal::RpcMethodHandler<SyncEcho, grpc::ByteBuffer, grpc::ByteBuffer,
                                                     grpc::ByteBuffer, grpc::ByteBuffer>;
    AddMethod(new grpc::internal::RpcServiceMethod(
        kMethod, grpc::internal::RpcMethod::NORMAL_RPC,
        new Handler(
            [](SyncEcho*, grpc::ServerContext*, const grpc::ByteBuffer* message,
               grpc::ByteBuffer* answer) {
              *answer = *message;
              return grpc::Status::OK;
            },
            this)));
  }
};

std::string Read(const char* name) {
  std::ifstream file(name);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 && argc != 5) {
    std::cerr << "echo async|callback|sync HOST:PORT [CERTIFICATE KEY]\n";
    return 2;
  }
  const std::string api = argv[1];
  auto credentials = grpc::InsecureServerCredentials();
  if (argc == 5) {
    grpc::SslServerCredentialsOptions options;
    options.pem_key_cert_pairs.push_back({Read(argv[4]), Read(argv[3])});
    credentials = grpc::SslServerCredentials(options);
  }
  AsyncEcho async;
  CallbackEcho callback;
  SyncEcho sync;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(argv[2], credentials, &port);
  std::unique_ptr<grpc::ServerCompletionQueue> queue;
  if (api == "async") {
    builder.RegisterService(&async);
    queue = builder.AddCompletionQueue();
  } else if (api == "callback") {
    builder.RegisterService(&callback);
  } else {
    builder.RegisterService(&sync);
  }
  auto server = builder.BuildAndStart();
  if (!server || !port) return 1;
  std::cout << "ready " << port << std::endl;
  if (!queue) {
    server->Wait();
    return 0;
  }
  std::unique_ptr<AsyncCall> calls[kOpen];
  for (auto& call : calls) call = std::make_unique<AsyncCall>(&async, queue.get());
  void* tag;
  bool is_ok;
  while (queue->Next(&tag, &is_ok)) static_cast<AsyncCall*>(tag)->Proceed(is_ok);
  return 0;
}
