"""A Service Fabric cluster as far as its HTTP gateway shows it: nodes, what is deployed there, an image store, applications.

Argument: a folder, in which it lays packages out as Service Fabric does (NODE/TYPE_App1/PACKAGE.CODE.VERSION).
Speaks TLS with client certificates (users.pem, expired.pem) for those who ask, and plain HTTP on loopback for sfctl and for the
test itself, which sets the state: POST /!/state with {nodes: {NODE: {APPLICATION ID: {...}}}}, or null while it is down.
"""
import datetime, hashlib, http.server, json, os, re, ssl, sys, threading, time, urllib.parse
import xml.etree.ElementTree as xml

FOLDER = sys.argv[1]
NS = "{http://schemas.microsoft.com/2011/01/fabric}"
lock = threading.Lock()
state, asked = {"nodes": {}}, {}
store, types, applications = {}, {}, {}
# Health events of partitions: {PARTITION: {(SOURCE, PROPERTY): (REPORT, END)}}.
health = {}


class Wrong(Exception):
    def __init__(self, status, code, message):
        self.status, self.body = status, {"Error": {"Code": code, "Message": message}}


def found(table, key, code):
    if key not in table:
        raise Wrong(404, code, key)
    return table[key]


def provision(path):
    """Reads manifests as the cluster does: what they name must be there, in the version they name."""
    files = {name[len(path) + 1:]: body for name, body in store.items() if name.startswith(path + "/")}
    if "ApplicationManifest.xml" not in files:
        raise Wrong(400, "FABRIC_E_IMAGEBUILDER_VALIDATION_ERROR", "no ApplicationManifest.xml in " + path)
    application = xml.fromstring(files["ApplicationManifest.xml"])
    packages = {}
    for reference in application.iter(NS + "ServiceManifestRef"):
        name = reference.get("ServiceManifestName")
        service = xml.fromstring(files[name + "/ServiceManifest.xml"])
        if (service.get("Name"), service.get("Version")) != (name, reference.get("ServiceManifestVersion")):
            raise Wrong(400, "FABRIC_E_IMAGEBUILDER_VALIDATION_ERROR", "versions of " + name + " differ")
        for kind in ("CodePackage", "ConfigPackage"):
            for package in service.iter(NS + kind):
                inside = {n: b for n, b in files.items() if n.startswith(name + "/" + package.get("Name") + "/")}
                if not inside:
                    raise Wrong(400, "FABRIC_E_IMAGEBUILDER_VALIDATION_ERROR", kind + " is empty")
                packages[name, package.get("Name"), package.get("Version"), kind] = inside
    parameters = {p.get("Name") for p in application.find(NS + "Parameters")}
    key = application.get("ApplicationTypeName"), application.get("ApplicationTypeVersion")
    if key in types:
        raise Wrong(409, "FABRIC_E_APPLICATION_TYPE_ALREADY_EXISTS", repr(key))
    types[key] = packages, parameters


def roll_out(name, kind, version, given):
    """Lays packages out on every node and says which are in force; what is there already stays as it is."""
    packages, known = found(types, (kind, version), "FABRIC_E_APPLICATION_TYPE_NOT_FOUND")
    unknown = {p["Key"] for p in given} - known
    if unknown:
        raise Wrong(400, "FABRIC_E_INVALID_APPLICATION_PARAMETERS", repr(unknown))
    for node in state["nodes"] if state else []:
        place = os.path.join(FOLDER, node, kind + "_App1")
        current = {}
        for (package, part, number, element), files in packages.items():
            into = os.path.join(place, ".".join((package, part, number)))
            current.setdefault(package, []).append((element, part, number))
            if not os.path.exists(into):
                for path, body in files.items():
                    target = os.path.join(into, path.split("/", 2)[2])
                    os.makedirs(os.path.dirname(target), exist_ok=True)
                    with open(target, "wb") as file:
                        file.write(body)
        for package, parts in current.items():
            body = "".join(f'<Digested{e}><{e} Name="{p}" Version="{v}"/></Digested{e}>' for e, p, v in parts)
            path = os.path.join(place, package + ".Package.Current.xml")
            with open(path + ".new", "w") as file:
                file.write(f'<ServicePackage xmlns="{NS[1:-1]}" Name="{package}">{body}</ServicePackage>')
            os.replace(path + ".new", path)
    applications[name] = {"Name": name, "TypeName": kind, "TypeVersion": version, "Parameters": given}


class Gateway(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        url = urllib.parse.urlsplit(self.path)
        path, query = urllib.parse.unquote(url.path), urllib.parse.parse_qs(url.query)
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        if self.headers.get("transfer-encoding"):
            raise Wrong(501, "E_NOTIMPL", "chunks")
        with lock:
            try:
                status, value = self.act(path, query, body)
            except Wrong as wrong:
                status, value = wrong.status, wrong.body
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def act(self, path, query, body):
        global state
        said = lambda: json.loads(body)
        secure = isinstance(self.connection, ssl.SSLSocket)
        if not secure and path == "/!/state":
            if self.command == "POST":
                state = said()
            told = [[p, r["Property"]] for p, events in health.items() for r, _ in events.values()]
            return 200, {"asked": asked, "told": told, "applications": applications, "types": [list(t) for t in types], "store": sorted(store)}
        if state is None:
            raise Wrong(503, "FABRIC_E_GATEWAY_NOT_REACHABLE", "down")
        if path == "/":
            return 200, {}
        if path == "/$/GetClusterVersion":
            return 200, {"Version": "8.2.1235.9590"}
        if "api-version" not in query:
            raise Wrong(400, "FABRIC_E_INVALID_ADDRESS", "api-version is missing")
        parts = path.strip("/").split("/")
        if self.command == "GET" and parts[0] == "Nodes" and parts[2:4] == ["$", "GetApplications"]:
            return self.on_node(*parts[1:2], parts[4:], query)
        if parts[0] == "Partitions" and len(parts) == 4 and parts[2] == "$":
            return self.partition(parts[1], parts[3], query, body)
        if parts[0] == "ImageStore":
            return self.image_store("/".join(parts[1:]), body)
        if path == "/ApplicationTypes/$/Provision":
            provision(said()["ApplicationTypeBuildPath"])
            return 200, None
        if path == "/Applications/$/Create":
            new = said()
            if new["Name"] in applications:
                raise Wrong(409, "FABRIC_E_APPLICATION_ALREADY_EXISTS", new["Name"])
            roll_out(new["Name"], new["TypeName"], new["TypeVersion"], new.get("ParameterList", []))
            return 201, None
        if parts[0] == "Applications" and parts[2:] == ["$", "Upgrade"]:
            old = found(applications, "fabric:/" + parts[1].replace("~", "/"), "FABRIC_E_APPLICATION_NOT_FOUND")
            new = said()
            if new["TargetApplicationTypeVersion"] == old["TypeVersion"]:
                raise Wrong(409, "FABRIC_E_APPLICATION_ALREADY_IN_TARGET_VERSION", old["TypeVersion"])
            roll_out(old["Name"], old["TypeName"], new["TargetApplicationTypeVersion"], new.get("Parameters", []))
            return 200, None
        if parts[0] == "Applications" and parts[2:] == ["$", "Delete"]:
            found(applications, "fabric:/" + parts[1].replace("~", "/"), "FABRIC_E_APPLICATION_NOT_FOUND")
            del applications["fabric:/" + parts[1].replace("~", "/")]
            return 200, None
        if parts[0] == "ApplicationTypes" and parts[2:] == ["$", "Unprovision"]:
            key = parts[1], said()["ApplicationTypeVersion"]
            found(types, key, "FABRIC_E_APPLICATION_TYPE_NOT_FOUND")
            if any((a["TypeName"], a["TypeVersion"]) == key for a in applications.values()):
                raise Wrong(409, "FABRIC_E_APPLICATION_TYPE_IN_USE", repr(key))
            del types[key]
            return 200, None
        raise Wrong(404, "FABRIC_E_INVALID_ADDRESS", path)

    def image_store(self, path, body):
        if self.command == "PUT":
            store[path] = body
            return 200, None
        if self.command == "DELETE":
            for name in [n for n in store if n == path or n.startswith(path + "/")]:
                del store[name]
            return 200, None
        raise Wrong(404, "FABRIC_E_INVALID_ADDRESS", path)

    def partition(self, partition, what, query, body):
        events = health.setdefault(partition, {})
        if what == "ReportHealth" and self.command == "POST":
            # By default only certificates of administrators may report.
            if state.get("reads_only"):
                raise Wrong(403, "E_ACCESSDENIED", "ReportHealth")
            report = json.loads(body)
            lasts = re.fullmatch(r"PT(\d+)S", report["TimeToLiveInMilliSeconds"])
            if report["HealthState"] not in ("Ok", "Warning", "Error") or not lasts or report["SourceId"].startswith("System."):
                raise Wrong(400, "E_INVALIDARG", repr(report))
            events[report["SourceId"], report["Property"]] = report, time.monotonic() + int(lasts[1])
            return 200, None
        if what == "GetHealth" and self.command == "GET":
            if query.get("EventsHealthStateFilter") != ["65535"]:
                raise Wrong(400, "E_INVALIDARG", "which events?")
            now = time.monotonic()
            return 200, {"AggregatedHealthState": "Ok", "PartitionId": partition, "ReplicaHealthStates": [], "UnhealthyEvaluations": [],
                         "HealthEvents": [dict(r, IsExpired=False, SequenceNumber="1") for r, end in events.values() if now < end]}
        raise Wrong(404, "FABRIC_E_INVALID_ADDRESS", self.path)

    def on_node(self, node, rest, query):
        deployed = found(state["nodes"], node, "FABRIC_E_NODE_NOT_FOUND")
        if not rest:
            asked[node] = asked.get(node, 0) + 1
            # A page at a time, as clusters do.
            names = sorted(deployed)
            at = int(query.get("ContinuationToken", ["0"])[0])
            more = str(at + 1) if at + 1 < len(names) else ""
            items = [{"Id": n, "Name": "fabric:/" + n.replace("~", "/"), "TypeName": deployed[n]["type"], "Status": "Active"}
                     for n in names[at:at + 1]]
            return 200, {"ContinuationToken": more, "Items": items}
        application = found(deployed, rest[0], "FABRIC_E_APPLICATION_NOT_FOUND")
        if rest[1:] == ["$", "GetCodePackages"]:
            return 200, [{"Name": p["code"], "Version": p["version"], "ServiceManifestName": p["package"],
                          "ServicePackageActivationId": p.get("activation", ""), "Status": "Active", "HostType": "ExeHost",
                          "MainEntryPoint": {"ProcessId": str(p["pid"]), "EntryPointLocation": "x", "Status": "Started"}}
                         for p in application["packages"]]
        if rest[1:] == ["$", "GetReplicas"]:
            if not application["replicas"]:
                return 204, None
            return 200, [{"ServiceKind": "Stateful", "ServiceName": r["service"], "ServiceManifestName": r["package"],
                          "CodePackageName": r["code"], "PartitionId": r["partition"], "ReplicaId": r["id"],
                          "ReplicaRole": r["role"], "HostProcessId": str(r["pid"]), "ReplicaStatus": "Ready",
                          "ServicePackageActivationId": r.get("activation", "")}
                         for r in application["replicas"]]
        raise Wrong(404, "FABRIC_E_INVALID_ADDRESS", self.path)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass


def serve(address, context=None):
    server = Server((address, 0), Gateway)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


at = {"plain": serve("127.0.0.1")}
try:
    import trustme
except ImportError:
    trustme = None
if trustme:
    users, cluster = trustme.CA(), trustme.CA()
    past = datetime.datetime(2020, 1, 1)
    users.issue_cert("leakhound@shop.test").private_key_and_cert_chain_pem.write_to_path(FOLDER + "/users.pem")
    old = users.issue_cert("leakhound@shop.test", not_before=past, not_after=past + datetime.timedelta(days=30))
    old.private_key_and_cert_chain_pem.write_to_path(FOLDER + "/expired.pem")
    server = cluster.issue_cert("cluster.shop.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    users.configure_trust(context)
    server.configure_cert(context)
    der = ssl.PEM_cert_to_DER_cert(server.cert_chain_pems[0].bytes().decode())
    at |= {"tls": serve("0.0.0.0", context), "sha256": hashlib.sha256(der).hexdigest()}
print(json.dumps(at))
sys.stdin.read()
