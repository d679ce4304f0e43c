// A shop as any Node application may be: HTTP, PostgreSQL, OpenTelemetry's own instrumentation, and nothing of Flux.
//
//   node shop.js DSN proto|json      prints the port it listens on; SIGTERM sends what is left and ends it
"use strict";

const { NodeSDK } = require("@opentelemetry/sdk-node");
const { HttpInstrumentation } = require("@opentelemetry/instrumentation-http");
const { PgInstrumentation } = require("@opentelemetry/instrumentation-pg");

const [dsn, encoding] = process.argv.slice(2);
const { OTLPTraceExporter } = require(`@opentelemetry/exporter-trace-otlp-${encoding === "json" ? "http" : "proto"}`);

const sdk = new NodeSDK({
  serviceName: "node-shop",
  traceExporter: new OTLPTraceExporter({ compression: "gzip" }),
  instrumentations: [
    new HttpInstrumentation(),
    new PgInstrumentation({ enhancedDatabaseReporting: true, addSqlCommenterCommentToQueries: true }),
  ],
});
sdk.start();

const http = require("node:http");
const { Pool } = require("pg");
const pool = new Pool({ connectionString: dsn });

const server = http.createServer(async (request, response) => {
  try {
    if (request.url.startsWith("/fail")) {
      await pool.query("update item set price = 1 / 0 where id = 1");
    }
    const path = new URL(request.url, "http://shop");
    await pool.query("update item set price = $1 where id = $2", [path.searchParams.get("price"), 1]);
    response.end("ok");
  } catch (error) {
    response.statusCode = 500;
    response.end(error.message);
  }
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));

process.on("SIGTERM", async () => {
  server.close();
  await pool.end();
  await sdk.shutdown();
});
