// Copyright (c) 2026, the msexchange.winsock_proxy authors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
//
// A simulated Windows: clock, service manager, registry, files, processes. THIS IS A MODEL, no Windows: what it does it
// does because this file says so, from Microsoft's documentation and from what Windows' API answered under Wine.
// The target script's text runs against it in a real PowerShell; its types have the members of .NET's own which the
// script uses (tests/simulation/seams.py says which stands for which).
//
// Everything is deterministic. A cut is a copy of the whole world after an effect, with every process of it dead: so
// nothing of a dead process runs on, no `finally` and no script method.

using System;
using System.Collections.Generic;
using System.Collections.ObjectModel;
using System.ComponentModel;
using System.IO;
using System.Linq;
using System.Management.Automation;
using System.Management.Automation.Runspaces;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Sim {

// ---- what Windows raises --------------------------------------------------------------------------------------------

// Passes every `catch` of a script, as the end of a process does.
public class Ended : PipelineStoppedException { }

public static class Win {
    public static Exception OfFile(int code, string path) {
        switch (code) {
            case 2: return new FileNotFoundException(path);
            case 3: return new DirectoryNotFoundException(path);
            case 5: return new UnauthorizedAccessException(path);
            default: return new IOException(path + ": " + code, unchecked((int)0x80070000) | code);
        }
    }

    public static Exception OfService(int code) {
        return new InvalidOperationException("service manager", new Win32Exception(code));
    }

    // RegistryKey puts the bare code there.
    public static Exception OfKey(int code) {
        if (code == 5) return new UnauthorizedAccessException("registry");
        return new IOException("registry: " + code, code);
    }
}

// ---- the world ------------------------------------------------------------------------------------------------------

// How a service takes a control, so many times (-1: always); afterwards it does as it should.
public class Manner {
    public string Kind = "ok";
    public long Ms = 100;
    public int Code;
    public bool Took;
    public int Times = -1;

    public Manner Copy() { return (Manner)MemberwiseClone(); }
}

public class Service {
    public string Name, Image, State, Section;
    public string[] Deps = new string[0];
    public int Start = 2, Pid, Turn;
    public long Since;
    public Manner Stops, Starts;

    public Service Copy() {
        var copy = (Service)MemberwiseClone();
        copy.Stops = Stops.Copy();
        copy.Starts = Starts.Copy();
        return copy;
    }
}

public class Key {
    public bool Volatile;
    public SortedDictionary<string, object> Values = new SortedDictionary<string, object>(StringComparer.OrdinalIgnoreCase);

    public Key Copy() {
        var copy = new Key { Volatile = Volatile };
        foreach (var item in Values) copy.Values[item.Key] = item.Value;
        return copy;
    }
}

public class Node {
    public int Id;
    public string Place;
    public byte[] Bytes = new byte[0];
    public bool ReadOnly, Dying;
    public long Written;

    public Node Copy() { return (Node)MemberwiseClone(); }
}

public class Handle {
    public int Id, Node, Owner;
    public bool Reads, Writes, Deletes, DeleteOnClose, Remote;
    public FileShare Share;

    public Handle Copy() { return (Handle)MemberwiseClone(); }
}

// Something that is to happen at a time; for a service only as long as nothing else has happened to it.
public class Due {
    public long At;
    public int Order, Turn;
    public string What, Name;
    public JsonObject More;

    public Due Copy() { return (Due)MemberwiseClone(); }
}

// What goes wrong, or what somebody does, at a contact with Windows: the one after `Skip` others, so many times.
public class Fault {
    public string Kind, Name, What;
    public int Skip, Times, Code;
    public bool Took;
    public JsonObject More;

    public Fault Copy() { return (Fault)MemberwiseClone(); }
}

public class World {
    public const long Epoch = 1767225600000;  // 2026-01-01
    public long Now = Epoch;
    public int Count, Order, Effects, Calls, Connection;
    public bool Remote, Fat, NoCim;
    public long AwayUntil;
    public string Who = "";
    public SortedDictionary<string, Key> Keys = new SortedDictionary<string, Key>(StringComparer.OrdinalIgnoreCase);
    public SortedDictionary<string, Node> Files = new SortedDictionary<string, Node>(StringComparer.OrdinalIgnoreCase);
    public SortedSet<string> Folders = new SortedSet<string>(StringComparer.OrdinalIgnoreCase);
    public List<Handle> Handles = new List<Handle>();
    public SortedDictionary<string, Service> Services = new SortedDictionary<string, Service>(StringComparer.OrdinalIgnoreCase);
    public List<Due> Dues = new List<Due>();
    public List<Fault> Faults = new List<Fault>();
    public List<string> Waiting = new List<string>();
    public List<JsonArray> Log = new List<JsonArray>();
    public bool Talk;

    public World Copy() {
        var copy = (World)MemberwiseClone();
        copy.Keys = new SortedDictionary<string, Key>(StringComparer.OrdinalIgnoreCase);
        foreach (var item in Keys) copy.Keys[item.Key] = item.Value.Copy();
        copy.Files = new SortedDictionary<string, Node>(StringComparer.OrdinalIgnoreCase);
        foreach (var item in Files) copy.Files[item.Key] = item.Value.Copy();
        copy.Folders = new SortedSet<string>(Folders, StringComparer.OrdinalIgnoreCase);
        copy.Handles = Handles.Select(handle => handle.Copy()).ToList();
        copy.Services = new SortedDictionary<string, Service>(StringComparer.OrdinalIgnoreCase);
        foreach (var item in Services) copy.Services[item.Key] = item.Value.Copy();
        copy.Dues = Dues.Select(due => due.Copy()).ToList();
        copy.Faults = Faults.Select(fault => fault.Copy()).ToList();
        copy.Waiting = new List<string>(Waiting);
        copy.Log = new List<JsonArray>(Log);
        return copy;
    }

    public void Tell(string who, string what, string name, params object[] more) {
        var line = new JsonArray { Now - Epoch, who, what, name };
        foreach (var item in more) line.Add(item is bool ? (bool)item : item is int ? (int)item : (JsonNode)(string)item);
        Log.Add(line);
    }

    // -- time --

    public void Plan(long after, string what, string name, int turn, JsonObject more = null) {
        Dues.Add(new Due { At = Now + after, Order = ++Order, What = what, Name = name, Turn = turn, More = more });
    }

    public void Advance(long ms) {
        long until = Now + ms;
        while (true) {
            Due next = null;
            foreach (var due in Dues) {
                if (due.At <= until && (next == null || due.At < next.At || (due.At == next.At && due.Order < next.Order))) next = due;
            }
            if (next == null) break;
            Dues.Remove(next);
            if (next.At > Now) Now = next.At;
            Happen(next);
        }
        Now = until;
    }

    void Happen(Due due) {
        if (due.Turn < 0) { Do(due.What, due.Name, due.More); return; }
        Service service;
        if (!Services.TryGetValue(due.Name, out service) || service.Turn != due.Turn) return;
        if (due.What == "read") { Tell("service", "read", service.Name, Digest(service), service.Pid); return; }
        Become(service, due.What);
    }

    void Become(Service service, string state) {
        service.State = state;
        if (state == "stopped") service.Pid = 0;
        Tell("service", state, service.Name, service.Pid);
    }

    string Digest(Service service) {
        Node node;
        return service.Section != null && Files.TryGetValue(service.Section, out node) ? Here.Hash(node.Bytes) : "";
    }

    // -- what others do --

    public void Do(string what, string name, JsonObject more) {
        Service service;
        Services.TryGetValue(name ?? "", out service);
        switch (what) {
            case "disable": if (service != null) { service.Start = 4; Keys[Here.ServiceKey(name)].Values["Start"] = 4; Tell("other", what, name); } break;
            case "enable": if (service != null) { service.Start = 2; Keys[Here.ServiceKey(name)].Values["Start"] = 2; Tell("other", what, name); } break;
            case "remove": Services.Remove(name); Keys.Remove(Here.ServiceKey(name)); Tell("other", what, name); break;
            case "start": if (service != null && service.State == "stopped" && service.Start != 4) Raise(service, "other"); break;
            case "stop": if (service != null && service.State == "running" && !Dependents(name).Any()) Lower(service, "other"); break;
            case "restart": if (service != null && service.State == "running" && !Dependents(name).Any()) { Become(service, "stopped"); Tell("other", "stop", name); Raise(service, "other"); } break;
            case "outage":
                // Handles to the server are dead for good, and with them a lock that was held through one.
                Connection++;
                AwayUntil = Now + (long)more["ms"];
                foreach (var handle in Handles.Where(item => item.Remote).ToList()) Release(handle);
                Tell("other", what, "");
                break;
            case "write": {
                Node node;
                if (Files.TryGetValue(name, out node)) {
                    if (Handles.Any(item => item.Node == node.Id && (item.Share & FileShare.Write) == 0)) break;
                    node.Bytes = Encoding.ASCII.GetBytes((string)more["text"]);
                } else Make(name, Encoding.ASCII.GetBytes((string)more["text"]));
                Tell("other", what, name, Here.Hash(Encoding.ASCII.GetBytes((string)more["text"])));
                break;
            }
            case "hold": {
                Node node;
                if (!Files.TryGetValue(name, out node)) break;
                var share = (FileShare)Enum.Parse(typeof(FileShare), (string)more["share"]);
                if (Handles.Any(item => item.Node == node.Id && ((item.Share & FileShare.Read) == 0 || (item.Writes && (share & FileShare.Write) == 0) || (item.Deletes && (share & FileShare.Delete) == 0)))) break;
                var held = new Handle { Id = ++Count, Node = node.Id, Owner = -1, Reads = true, Share = share };
                Handles.Add(held);
                if (more["ms"] != null) Plan((long)more["ms"], "free", held.Id.ToString(), -1);
                Tell("other", what, name);
                break;
            }
            case "free": foreach (var handle in Handles.Where(item => item.Id.ToString() == name).ToList()) Release(handle); break;
            default: throw new InvalidOperationException("nobody knows how to do " + what);
        }
    }

    // -- services --

    public IEnumerable<Service> Dependents(string name) {
        foreach (var service in Services.Values) {
            if (service.State != "stopped" && service.Deps.Contains(name, StringComparer.OrdinalIgnoreCase)) yield return service;
        }
    }

    public List<Service> Below(string name) {
        var found = new List<Service>();
        var names = new List<string> { name };
        for (int i = 0; i < names.Count; i++) {
            foreach (var service in Services.Values) {
                if (service.Deps.Contains(names[i], StringComparer.OrdinalIgnoreCase) && !names.Contains(service.Name, StringComparer.OrdinalIgnoreCase)) {
                    names.Add(service.Name);
                    found.Insert(0, service);
                }
            }
        }
        return found;
    }

    static bool Spend(Manner manner) {
        if (manner.Kind == "ok") return false;
        if (manner.Times == 0) return false;
        if (manner.Times > 0) manner.Times--;
        return true;
    }

    void Lower(Service service, string who) {
        if (Dues.Any(due => due.What == "stop_pending" && due.Name == service.Name && due.Turn == service.Turn)) {
            // It is on its way already.
            Tell(who, "stop", service.Name);
            return;
        }
        var manner = service.Stops;
        bool odd = Spend(manner);
        service.Turn++;
        Tell(who, "stop", service.Name);
        if (odd && manner.Kind == "late") {
            // Taken, and the state says nothing of it yet.
            Plan(manner.Ms, "stop_pending", service.Name, service.Turn);
            Plan(manner.Ms + 100, "stopped", service.Name, service.Turn);
            return;
        }
        Become(service, "stop_pending");
        if (odd && manner.Kind == "hang") return;
        Plan(odd || manner.Kind == "ok" ? manner.Ms : 100, "stopped", service.Name, service.Turn);
    }

    void Raise(Service service, string who) {
        var manner = service.Starts;
        bool odd = Spend(manner);
        service.Turn++;
        service.Pid = 1000 + ++Count;
        service.Since = Now;
        Tell(who, "start", service.Name);
        Become(service, "start_pending");
        long ms = odd || manner.Kind == "ok" ? manner.Ms : 100;
        bool dies = odd && manner.Kind == "dies";
        if (dies) ms = 100;
        if (odd && manner.Kind == "fails") { Plan(ms, "stopped", service.Name, service.Turn); return; }
        Plan(Math.Min(ms / 2, 500), "read", service.Name, service.Turn);
        if (odd && manner.Kind == "hang") return;
        Plan(ms, "running", service.Name, service.Turn);
        if (dies) Plan(ms + manner.Ms, "stopped", service.Name, service.Turn);
    }

    // 0, or the code of a refusal.
    public int Stop(Service service, string who, Action taken) {
        if (service.State == "stopped") return 1062;
        if (service.State == "stop_pending") return 1061;
        if (service.State == "start_pending") return 1052;
        if (Dependents(service.Name).Any()) return 1051;
        if (service.Stops.Kind == "refuse" && Spend(service.Stops)) return service.Stops.Code;
        if (service.Stops.Kind == "unsure" && Spend(service.Stops)) {
            if (service.Stops.Took) { Lower(service, who); taken(); }
            return service.Stops.Code;
        }
        Lower(service, who);
        taken();
        return 0;
    }

    public int Start(Service service, string who, Action taken) {
        if (service.Start == 4) return 1058;
        if (service.State != "stopped") return 1056;
        foreach (var name in service.Deps) {
            Service below;
            if (!Services.TryGetValue(name, out below)) return 1075;
            if (below.State == "running") continue;
            // Unasked, and the caller waits.
            if (below.State == "stopped" && Start(below, who, taken) != 0) return 1068;
            for (int i = 0; i < 50 && below.State == "start_pending"; i++) Advance(100);
            if (below.State != "running") return 1068;
        }
        if (service.State != "stopped") return 1056;
        if (service.Starts.Kind == "refuse" && Spend(service.Starts)) return service.Starts.Code;
        if (service.Starts.Kind == "unsure" && Spend(service.Starts)) {
            if (service.Starts.Took) { Raise(service, who); taken(); }
            return service.Starts.Code;
        }
        if (service.Starts.Kind == "other" && Spend(service.Starts)) { Raise(service, "other"); return 1056; }
        Raise(service, who);
        taken();
        return 0;
    }

    // -- files --

    public Node Make(string place, byte[] bytes) {
        var node = new Node { Id = ++Count, Place = place, Bytes = bytes, Written = Now };
        Files[place] = node;
        return node;
    }

    public Node Find(int id) { return Files.Values.FirstOrDefault(node => node.Id == id); }

    public void Release(Handle handle) {
        if (!Handles.Remove(handle)) return;
        var node = Find(handle.Node);
        if (node == null) return;
        if (handle.DeleteOnClose) node.Dying = true;
        if (node.Dying && !Handles.Any(item => item.Node == node.Id)) Files.Remove(node.Place);
    }

    // -- the end of processes, and of the machine --

    public void EndProcesses() {
        foreach (var handle in Handles.Where(item => item.Owner >= 0).ToList()) Release(handle);
    }

    public void Boot() {
        Waiting.Clear();
        Handles.Clear();
        foreach (var node in Files.Values.Where(item => item.Dying).ToList()) Files.Remove(node.Place);
        foreach (var name in Keys.Where(item => item.Value.Volatile).Select(item => item.Key).ToList()) Keys.Remove(name);
        Connection++;
        Tell("other", "boot", "");
        foreach (var service in Services.Values) {
            service.Turn++;
            service.State = "stopped";
            service.Pid = 0;
            // What a service or the machine had is over.
            service.Stops = new Manner();
            service.Starts = new Manner();
        }
        Faults.Clear();
        Dues.RemoveAll(due => due.Turn >= 0);
        Advance(60000);
        foreach (var service in Services.Values.Where(item => item.Start == 2)) Start(service, "boot", () => { });
        Advance(60000);
    }
}

// ---- here and now ---------------------------------------------------------------------------------------------------

public class Snapshot {
    public World World;
    public string Site;
    public int Index;
}

public static class Here {
    public static World W;
    public static int Process;
    public static string Run = "";
    public static bool Recording;
    public static List<Snapshot> Snapshots = new List<Snapshot>();
    public static Dictionary<string, ScriptBlock> Scripts = new Dictionary<string, ScriptBlock>();
    public static List<string[]> Seams = new List<string[]>();
    public const int Patience = 60000;
    static int depth;

    public static string Hash(byte[] bytes) { return Convert.ToHexString(SHA256.HashData(bytes)).ToLowerInvariant(); }

    public static string ServiceKey(string name) { return "SYSTEM\\CurrentControlSet\\Services\\" + name; }

    public static string Through(string text) {
        foreach (var seam in Seams) text = Regex.Replace(text, seam[0], seam[1]);
        return text;
    }

    // Each contact with Windows: what is due happens, and what others do just now.
    public static Fault Contact(string kind, string name) {
        if (++W.Calls > Patience) throw new Ended();
        W.Advance(1);
        Fault hit = null;
        foreach (var fault in W.Faults) {
            if (fault.Times == 0 || !kind.StartsWith(fault.Kind, StringComparison.Ordinal)) continue;
            if (fault.Name != null && name.IndexOf(fault.Name, StringComparison.OrdinalIgnoreCase) < 0) continue;
            if (fault.Skip > 0) { fault.Skip--; continue; }
            if (hit != null) continue;
            if (fault.Times > 0) fault.Times--;
            hit = fault;
        }
        if (hit == null || hit.What == null) return hit;
        W.Do(hit.What, (string)hit.More["name"], hit.More);
        return null;
    }

    public static void Look(string kind, string name, Func<int, Exception> error) {
        var fault = Contact(kind, name);
        if (fault != null) throw error(fault.Code);
    }

    public static void Effect(string kind, string name, Func<int, Exception> error, Action apply) {
        var fault = Contact(kind, name);
        if (fault != null && !fault.Took) throw error(fault.Code);
        apply();
        Mark(kind);
        if (fault != null) throw error(fault.Code);
    }

    // After an effect: whoever dies now has had it.
    public static void Mark(string kind) {
        W.Effects++;
        if (W.Talk) W.Tell(Run, kind, Site());
        if (Recording) Snapshots.Add(new Snapshot { World = W.Copy(), Site = Site() + " " + kind, Index = W.Effects });
    }

    static readonly HashSet<string> Plumbing = new HashSet<string> { "<ScriptBlock>", "Invoke-Patiently", "global:Start-Process", "global:Invoke-CimMethod" };

    static string Site() {
        foreach (var frame in Runspace.DefaultRunspace.Debugger.GetCallStack()) {
            if (!Plumbing.Contains(frame.FunctionName)) return frame.FunctionName;
        }
        return "main";
    }

    public static void Sleep(long ms) {
        Contact("sleep", "");
        RunWaiting();
        W.Advance(ms);
    }

    public static void Launch(string command) {
        var found = Regex.Match(command, "-EncodedCommand (\\S+)");
        W.Waiting.Add(Encoding.Unicode.GetString(Convert.FromBase64String(found.Groups[1].Value)));
    }

    // Processes that were started run when the one that started them waits.
    public static void RunWaiting() {
        while (W.Waiting.Count > 0) {
            var text = W.Waiting[0];
            W.Waiting.RemoveAt(0);
            Execute(ScriptBlock.Create(Through(text)));
        }
    }

    // A process from its beginning to its end; what it said last.
    public static string Execute(ScriptBlock block, params object[] arguments) {
        int process = Process;
        Process = ++W.Count;
        depth++;
        try {
            if (depth > 4) throw new InvalidOperationException("processes start processes without end");
            W.Tell(Run, "begin", depth.ToString());
            var said = block.Invoke(arguments);
            return said.Count > 1 ? said[said.Count - 2].ToString() : "";
        }
        catch (Ended) { return "{\"error\":{\"code\":\"endless\"}}"; }
        catch (RuntimeException error) { return new JsonObject { ["error"] = new JsonObject { ["code"] = "crashed", ["message"] = error.Message + " " + (error.ErrorRecord == null ? "" : error.ErrorRecord.ScriptStackTrace) } }.ToJsonString(); }
        finally {
            foreach (var handle in W.Handles.Where(item => item.Owner == Process).ToList()) W.Release(handle);
            W.Tell(Run, "end", depth.ToString());
            depth--;
            Process = process;
        }
    }
}

public static class Script {
    public static ScriptBlock Create(string name) { return Here.Scripts[name]; }
}

// JSON as the cmdlets read and write it, because thousands of scenarios wait for it.
public static class Json {
    public static string Text(object value) {
        var text = new StringBuilder();
        Add(text, value);
        return text.ToString();
    }

    static void Add(StringBuilder text, object value) {
        var wrapped = value as PSObject;
        if (wrapped != null && !(wrapped.BaseObject is PSCustomObject)) value = wrapped.BaseObject;
        if (value == null) text.Append("null");
        else if (value is string) Quote(text, (string)value);
        else if (value is bool) text.Append((bool)value ? "true" : "false");
        else if (value is int || value is long) text.Append(Convert.ToString(value, System.Globalization.CultureInfo.InvariantCulture));
        else if (value is double) {
            string number = ((double)value).ToString("R", System.Globalization.CultureInfo.InvariantCulture);
            text.Append(number.Contains('.') || number.Contains('E') ? number : number + ".0");
        }
        else if (value is System.Collections.IDictionary) {
            char before = '{';
            foreach (System.Collections.DictionaryEntry item in (System.Collections.IDictionary)value) {
                text.Append(before);
                Quote(text, item.Key.ToString());
                text.Append(':');
                Add(text, item.Value);
                before = ',';
            }
            text.Append(before == '{' ? "{}" : "}");
        }
        else if (value is PSObject) {
            char before = '{';
            foreach (var item in ((PSObject)value).Properties) {
                text.Append(before);
                Quote(text, item.Name);
                text.Append(':');
                Add(text, item.Value);
                before = ',';
            }
            text.Append(before == '{' ? "{}" : "}");
        }
        else if (value is System.Collections.IEnumerable) {
            char before = '[';
            foreach (var item in (System.Collections.IEnumerable)value) {
                text.Append(before);
                Add(text, item);
                before = ',';
            }
            text.Append(before == '[' ? "[]" : "]");
        }
        else throw new InvalidOperationException("no JSON is made of a " + value.GetType().FullName);
    }

    static void Quote(StringBuilder text, string value) {
        text.Append('"');
        foreach (char letter in value) {
            switch (letter) {
                case '"': text.Append("\\\""); break;
                case '\\': text.Append("\\\\"); break;
                case '\n': text.Append("\\n"); break;
                case '\r': text.Append("\\r"); break;
                case '\t': text.Append("\\t"); break;
                default:
                    if (letter < ' ') text.Append("\\u" + ((int)letter).ToString("x4"));
                    else text.Append(letter);
                    break;
            }
        }
        text.Append('"');
    }

    public static object Read(string text) {
        using (var document = System.Text.Json.JsonDocument.Parse(text)) return Of(document.RootElement);
    }

    static object Of(System.Text.Json.JsonElement element) {
        switch (element.ValueKind) {
            case System.Text.Json.JsonValueKind.Object:
                var made = new PSObject();
                foreach (var item in element.EnumerateObject()) made.Properties.Add(new PSNoteProperty(item.Name, Of(item.Value)), true);
                return made;
            case System.Text.Json.JsonValueKind.Array: return element.EnumerateArray().Select(Of).ToArray();
            case System.Text.Json.JsonValueKind.String: return element.GetString();
            case System.Text.Json.JsonValueKind.True: return true;
            case System.Text.Json.JsonValueKind.False: return false;
            case System.Text.Json.JsonValueKind.Number:
                long whole;
                if (element.GetRawText().IndexOfAny(new[] { '.', 'e', 'E' }) < 0 && element.TryGetInt64(out whole)) return whole;
                return element.GetDouble();
            default: return null;
        }
    }
}

// ---- stand-ins for .NET's types -------------------------------------------------------------------------------------

public static class Machine {
    public static string SystemRoot { get { return "C:\\WINNT"; } }
    public static string PSHome { get { return "C:\\WINNT\\System32\\WindowsPowerShell\\v1.0"; } }
    public static string MachineName { get { return Here.W.Remote ? "ADMIN1" : "EXCH1"; } }
    public static OperatingSystem OSVersion { get { return new OperatingSystem(PlatformID.Win32NT, new Version(4, 0)); } }
    public static string ExpandEnvironmentVariables(string text) { return Regex.Replace(text, "%(SystemRoot|windir)%", "C:\\WINNT", RegexOptions.IgnoreCase); }
}

public static class Clock {
    public static DateTime UtcNow { get { return DateTimeOffset.FromUnixTimeMilliseconds(Here.W.Now).UtcDateTime; } }
    public static DateTime Now { get { return UtcNow; } }
    public static DateTimeOffset Moment { get { return DateTimeOffset.FromUnixTimeMilliseconds(Here.W.Now); } }
}

public static class Guid {
    public static string NewGuid() { return "00000000-0000-4000-8000-" + (++Here.W.Count).ToString("x12"); }
}

public class Stopwatch {
    readonly long began = Here.W.Now;
    public static Stopwatch StartNew() { return new Stopwatch(); }
    public TimeSpan Elapsed { get { return TimeSpan.FromMilliseconds(Here.W.Now - began); } }
    public long ElapsedMilliseconds { get { return Here.W.Now - began; } }
}

public class Module { public string FileName { get; set; } }

public class Process {
    public int Id { get; set; }
    public DateTime StartTime { get; set; }
    public Module MainModule { get; set; }

    public static Process[] GetProcessesByName(string name) {
        Here.Look("process.list", name, code => new Win32Exception(code));
        return Here.W.Services.Values.Where(item => item.Pid != 0 && Path.GetFileNameWithoutExtension(item.Image.Replace('\\', '/')).Equals(name, StringComparison.OrdinalIgnoreCase))
            .Select(item => new Process { Id = item.Pid, StartTime = DateTimeOffset.FromUnixTimeMilliseconds(item.Since).UtcDateTime, MainModule = new Module { FileName = item.Image } }).ToArray();
    }
}

public class ServiceController {
    readonly string name;
    readonly bool remote;
    string status;
    ServiceController[] below;
    int connection = -1;

    public ServiceController(string name, string machine) { this.name = name; remote = machine != "."; }

    public string ServiceName { get { return name; } }

    Service Open(string kind) {
        Here.Look(kind, name, Win.OfService);
        if (remote) {
            if (Here.W.Now < Here.W.AwayUntil) throw Win.OfService(1722);
            if (connection < 0) connection = Here.W.Connection;
            if (connection != Here.W.Connection) throw Win.OfService(6);
        }
        Service service;
        if (!Here.W.Services.TryGetValue(name, out service)) throw Win.OfService(1060);
        return service;
    }

    public string Status {
        get {
            if (status == null) status = Told(Open("service.status"));
            return status;
        }
    }

    static string Told(Service service) {
        return string.Concat(service.State.Split('_').Select(part => char.ToUpperInvariant(part[0]) + part.Substring(1)));
    }

    public void Refresh() { status = null; below = null; }

    // As .NET has it: the list is kept until Refresh, and each entry has the state of the moment in which it was made.
    public ServiceController[] DependentServices {
        get {
            if (below != null) return below;
            Open("service.dependents");
            return below = Here.W.Below(name).Select(item => new ServiceController(item.Name, remote ? "EXCH1" : ".") { status = Told(item) }).ToArray();
        }
    }

    public void Start() {
        Open("service.open");
        var fault = Here.Contact("service.start", name);
        if (fault != null && !fault.Took) throw Win.OfService(fault.Code);
        Service service;
        if (!Here.W.Services.TryGetValue(name, out service)) throw Win.OfService(1060);
        int code = Here.W.Start(service, Here.Run, () => Here.Mark("service.start"));
        if (code == 0 && fault != null) code = fault.Code;
        if (code != 0) throw Win.OfService(code);
    }

    public void Stop() { Stop(true); }

    public void Stop(bool dependents) {
        Open("service.open");
        if (dependents) throw new InvalidOperationException("it would stop what depends on it, unasked");
        var fault = Here.Contact("service.stop", name);
        if (fault != null && !fault.Took) throw Win.OfService(fault.Code);
        Service service;
        if (!Here.W.Services.TryGetValue(name, out service)) throw Win.OfService(1060);
        int code = Here.W.Stop(service, Here.Run, () => Here.Mark("service.stop"));
        if (code == 0 && fault != null) code = fault.Code;
        if (code != 0) throw Win.OfService(code);
    }

    public void Close() { status = null; }
}

// Through a handle whose other end has died OpenSubKey and GetValue come back empty, everything else raises.
public class RegistryKey {
    readonly string path;
    readonly bool remote;
    readonly int connection;

    public RegistryKey(string path, bool remote, int connection) { this.path = path; this.remote = remote; this.connection = connection; }

    bool Dead { get { return remote && (connection != Here.W.Connection || Here.W.Now < Here.W.AwayUntil); } }

    void Alive() { if (Dead) throw Win.OfKey(6); }

    string Below(string name) { return (path + "\\" + name).Trim('\\'); }

    public static RegistryKey OpenRemoteBaseKey(string hive, string machine) {
        Here.Look("key.connect", machine, Win.OfKey);
        if (Here.W.Now < Here.W.AwayUntil) throw Win.OfKey(53);
        return new RegistryKey("", true, Here.W.Connection);
    }

    public RegistryKey OpenSubKey(string name) {
        Here.Look("key.open", name, Win.OfKey);
        if (Dead || !Here.W.Keys.ContainsKey(Below(name))) return null;
        return new RegistryKey(Below(name), remote, connection);
    }

    public RegistryKey OpenSubKey(string name, object check, object rights) { return OpenSubKey(name); }
    public Rights GetAccessControl() { Alive(); return new Rights(); }
    public void SetAccessControl(Rights rights) { Alive(); }

    public RegistryKey CreateSubKey(string name) { return CreateSubKey(name, Microsoft.Win32.RegistryKeyPermissionCheck.Default, Microsoft.Win32.RegistryOptions.None); }

    public RegistryKey CreateSubKey(string name, Microsoft.Win32.RegistryKeyPermissionCheck check, Microsoft.Win32.RegistryOptions options) {
        Here.Look("key.open", name, Win.OfKey);
        Alive();
        string whole = Below(name);
        if (!Here.W.Keys.ContainsKey(whole)) {
            Here.Effect("key.create", name, Win.OfKey, () => {
                bool gone = options == Microsoft.Win32.RegistryOptions.Volatile;
                for (int at = whole.IndexOf('\\'); at > 0; at = whole.IndexOf('\\', at + 1)) {
                    if (!Here.W.Keys.ContainsKey(whole.Substring(0, at))) Here.W.Keys[whole.Substring(0, at)] = new Key { Volatile = gone };
                }
                Here.W.Keys[whole] = new Key { Volatile = gone };
            });
        }
        return new RegistryKey(whole, remote, connection);
    }

    Key Mine { get { Key key; if (!Here.W.Keys.TryGetValue(path, out key)) throw Win.OfKey(1018); return key; } }

    public object GetValue(string name) { return GetValue(name, null, null); }

    public object GetValue(string name, object otherwise, object options) {
        Here.Look("key.get", path + "\\" + name, Win.OfKey);
        object value;
        if (Dead || !Here.W.Keys.ContainsKey(path) || !Mine.Values.TryGetValue(name, out value)) return otherwise;
        return value;
    }

    public void SetValue(string name, object value) {
        Alive();
        if (value is PSObject) value = ((PSObject)value).BaseObject;
        Here.Effect("key.set", path + "\\" + name, Win.OfKey, () => Mine.Values[name] = value);
    }

    public void SetValue(string name, object value, object kind) { SetValue(name, value); }

    public void DeleteValue(string name, bool mustBeThere) {
        Alive();
        Here.Effect("key.delete", path + "\\" + name, Win.OfKey, () => Mine.Values.Remove(name));
    }

    public void DeleteSubKey(string name, bool mustBeThere) {
        Alive();
        Here.Effect("key.remove", Below(name), Win.OfKey, () => Here.W.Keys.Remove(Below(name)));
    }

    public string[] GetSubKeyNames() {
        Here.Look("key.list", path, Win.OfKey);
        Alive();
        string prefix = path == "" ? "" : path + "\\";
        return Here.W.Keys.Keys.Where(item => item.StartsWith(prefix, StringComparison.OrdinalIgnoreCase) && item.Length > prefix.Length)
            .Select(item => item.Substring(prefix.Length).Split('\\')[0]).Distinct(StringComparer.OrdinalIgnoreCase).ToArray();
    }

    public string[] GetValueNames() {
        Here.Look("key.list", path, Win.OfKey);
        Alive();
        return Mine.Values.Keys.ToArray();
    }

    public int SubKeyCount { get { Here.Look("key.count", path, Win.OfKey); Alive(); return 1; } }
    public int ValueCount { get { Here.Look("key.count", path, Win.OfKey); Alive(); return Mine.Values.Count; } }
    public void Close() { }
}

public static class Registry {
    public static RegistryKey LocalMachine { get { return new RegistryKey("", false, 0); } }
}

// A path as the script writes it, and the machine and path that it means.
public static class Place {
    public static string Of(string path) {
        var share = Regex.Match(path, @"^\\\\EXCH1\\([A-Za-z])\$\\(.*)$", RegexOptions.IgnoreCase);
        if (share.Success) {
            if (Here.W.Now < Here.W.AwayUntil) throw Win.OfFile(53, path);
            return "EXCH1|" + share.Groups[1].Value.ToUpperInvariant() + ":\\" + share.Groups[2].Value.TrimEnd('\\');
        }
        return (Here.W.Remote ? "ADMIN1|" : "EXCH1|") + path.TrimEnd('\\');
    }

    public static bool IsRemote(string path) { return path.StartsWith("\\\\", StringComparison.Ordinal); }

    public static string Parent(string place) { return place.Substring(0, place.LastIndexOf('\\')); }

    public static string Name(string place) { return place.Substring(place.LastIndexOf('\\') + 1); }

    public static Node Find(string path) {
        Node node;
        string place = Of(path);
        if (Here.W.Files.TryGetValue(place, out node)) return node;
        if (!Here.W.Folders.Contains(Parent(place))) throw Win.OfFile(3, path);
        return null;
    }

    // Whether one that opens, renames or deletes a file gets along with those who have it open.
    public static bool Free(Node node, bool reads, bool writes, bool deletes, FileShare share) {
        foreach (var held in Here.W.Handles.Where(item => item.Node == node.Id)) {
            if (reads && (held.Share & FileShare.Read) == 0) return false;
            if (writes && (held.Share & FileShare.Write) == 0) return false;
            if (deletes && (held.Share & FileShare.Delete) == 0) return false;
            if (held.Reads && (share & FileShare.Read) == 0) return false;
            if (held.Writes && (share & FileShare.Write) == 0) return false;
            if (held.Deletes && (share & FileShare.Delete) == 0) return false;
        }
        return true;
    }

    // What a half of says nothing: the lock, and what is handed over.
    public static bool Torn(string path) { return !path.EndsWith(".lock") && !path.EndsWith(".json"); }

    public const FileShare All = FileShare.ReadWrite | FileShare.Delete;
}

public class FileStream : Stream {
    readonly Handle handle;
    readonly string path;
    long position;

    public FileStream(string path, FileMode mode, FileAccess access, FileShare share, int buffer, FileOptions options) {
        this.path = path;
        Here.Look("file.open", path, code => Win.OfFile(code, path));
        var node = Place.Find(path);
        bool writes = (access & FileAccess.Write) != 0, reads = (access & FileAccess.Read) != 0, goes = (options & FileOptions.DeleteOnClose) != 0;
        if (node != null) {
            if (node.Dying) throw Win.OfFile(5, path);
            if (mode == FileMode.CreateNew) throw Win.OfFile(80, path);
            if (writes && node.ReadOnly) throw Win.OfFile(5, path);
            if (!Place.Free(node, reads, writes, goes, share)) throw Win.OfFile(32, path);
        } else if (mode == FileMode.Open) throw Win.OfFile(2, path);
        handle = new Handle { Id = ++Here.W.Count, Owner = Here.Process, Reads = reads, Writes = writes, Deletes = goes, DeleteOnClose = goes, Share = share, Remote = Place.IsRemote(path) };
        if (node != null && mode != FileMode.Create) { handle.Node = node.Id; Here.W.Handles.Add(handle); return; }
        Here.Effect(node == null ? "file.create" : "file.truncate", path, code => Win.OfFile(code, path), () => {
            if (node == null) node = Here.W.Make(Place.Of(path), new byte[0]);
            else { node.Bytes = new byte[0]; node.Written = Here.W.Now; }
            handle.Node = node.Id;
            Here.W.Handles.Add(handle);
        });
    }

    Node Mine {
        get {
            if (!Here.W.Handles.Any(item => item.Id == handle.Id)) throw Win.OfFile(handle.Remote ? 64 : 6, path);
            return Here.W.Find(handle.Node);
        }
    }

    public override bool CanRead { get { return handle.Reads; } }
    public override bool CanWrite { get { return handle.Writes; } }
    public override bool CanSeek { get { return true; } }
    public override long Length { get { return Mine.Bytes.Length; } }
    public override long Position { get { return position; } set { position = value; } }

    public override int Read(byte[] buffer, int offset, int count) {
        Here.Look("file.read", path, code => Win.OfFile(code, path));
        var bytes = Mine.Bytes;
        int many = (int)Math.Max(0, Math.Min(count, bytes.Length - position));
        Array.Copy(bytes, position, buffer, offset, many);
        position += many;
        return many;
    }

    // Whoever dies meanwhile has written any part of it.
    public override void Write(byte[] buffer, int offset, int count) {
        var fault = Here.Contact("file.write", path);
        if (fault != null && !fault.Took) throw Win.OfFile(fault.Code, path);
        var node = Mine;
        int many = fault == null ? count : count / 2;
        for (int i = 0; i < many; i++) {
            var bytes = new byte[Math.Max(node.Bytes.Length, position + 1)];
            node.Bytes.CopyTo(bytes, 0);
            bytes[position++] = buffer[offset + i];
            node.Bytes = bytes;
            if (Here.Recording && i < 32 && i < many - 1 && Place.Torn(path)) Here.Mark("file.write");
        }
        node.Written = Here.W.Now;
        Here.Mark("file.write");
        if (fault != null) throw Win.OfFile(fault.Code, path);
    }

    public override void SetLength(long value) {
        var node = Mine;
        if (node.Bytes.Length == value) return;
        Here.Effect("file.length", path, code => Win.OfFile(code, path), () => {
            var bytes = new byte[value];
            Array.Copy(node.Bytes, bytes, Math.Min(value, node.Bytes.Length));
            node.Bytes = bytes;
            node.Written = Here.W.Now;
        });
    }

    public override void Flush() { Here.Look("file.flush", path, code => Win.OfFile(code, path)); }
    public void Flush(bool whole) { Flush(); }
    public override long Seek(long offset, SeekOrigin origin) { throw new NotSupportedException(); }

    public override void Close() {
        var held = Here.W.Handles.FirstOrDefault(item => item.Id == handle.Id);
        if (held != null) Here.W.Release(held);
        base.Close();
    }
}

public static class File {
    public static FileStream Open(string path, FileMode mode, FileAccess access, FileShare share) { return new FileStream(path, mode, access, share, 4096, FileOptions.None); }

    public static bool Exists(string path) {
        Here.Contact("file.exists", path);
        try { var node = Place.Find(path); return node != null && !node.Dying; } catch (Exception) { return false; }
    }

    public static FileAttributes GetAttributes(string path) {
        Here.Look("file.attributes", path, code => Win.OfFile(code, path));
        var node = Place.Find(path);
        if (node == null) throw Win.OfFile(2, path);
        return node.ReadOnly ? FileAttributes.ReadOnly : FileAttributes.Normal;
    }

    public static DateTime GetLastWriteTimeUtc(string path) {
        Here.Look("file.attributes", path, code => Win.OfFile(code, path));
        var node = Place.Find(path);
        return node == null ? new DateTime(1601, 1, 1) : DateTimeOffset.FromUnixTimeMilliseconds(node.Written).UtcDateTime;
    }

    public static void Delete(string path) {
        Here.Look("file.look", path, code => Win.OfFile(code, path));
        var node = Place.Find(path);
        if (node == null) return;
        if (node.Dying || node.ReadOnly) throw Win.OfFile(5, path);
        if (!Place.Free(node, false, false, true, Place.All)) throw Win.OfFile(32, path);
        Here.Effect("file.delete", path, code => Win.OfFile(code, path), () => {
            if (Here.W.Handles.Any(item => item.Node == node.Id)) node.Dying = true;
            else Here.W.Files.Remove(node.Place);
        });
    }

    static void Rename(Node node, string place) {
        Here.W.Files.Remove(node.Place);
        node.Place = place;
        Here.W.Files[place] = node;
    }

    public static void Move(string from, string to) {
        Here.Look("file.look", from, code => Win.OfFile(code, from));
        var node = Place.Find(from);
        if (node == null || node.Dying) throw Win.OfFile(2, from);
        var other = Place.Find(to);
        if (other != null) throw Win.OfFile(other.Dying ? 5 : 183, to);
        if (!Place.Free(node, false, false, true, Place.All)) throw Win.OfFile(32, from);
        Here.Effect("file.move", to, code => Win.OfFile(code, to), () => Rename(node, Place.Of(to)));
    }

    // As NTFS does it, in three steps.
    public static void Replace(string from, string to, string backup, bool ignore) {
        var fault = Here.Contact("file.replace", to);
        var fresh = Place.Find(from);
        var old = Place.Find(to);
        if (fresh == null || old == null || old.Dying) throw Win.OfFile(2, fresh == null ? from : to);
        if (old.ReadOnly) throw Win.OfFile(5, to);
        if (!Place.Free(fresh, false, false, true, Place.All) || !Place.Free(old, false, false, true, Place.All)) throw Win.OfFile(32, to);
        if (fault != null && !fault.Took && fault.Code != 1177) throw Win.OfFile(fault.Code, to);
        var before = Place.Find(backup);
        if (before != null) {
            if (!Place.Free(before, false, false, true, Place.All)) throw Win.OfFile(1175, to);
            Here.W.Files.Remove(before.Place);
            Here.Mark("file.replace");
        }
        Rename(old, Place.Of(backup));
        Here.Mark("file.replace");
        if (fault != null && fault.Code == 1177) throw Win.OfFile(1177, to);
        Rename(fresh, Place.Of(to));
        Here.Mark("file.replace");
        if (fault != null) throw Win.OfFile(fault.Code, to);
    }
}

public static class Directory {
    public static bool Exists(string path) {
        Here.Contact("folder.exists", path);
        try { return Here.W.Folders.Contains(Place.Of(path)); } catch (Exception) { return false; }
    }

    public static void CreateDirectory(string path) {
        string place = Place.Of(path);
        if (Here.W.Folders.Contains(place)) return;
        Here.Effect("folder.create", path, code => Win.OfFile(code, path), () => {
            for (; place.Contains('\\'); place = Place.Parent(place)) Here.W.Folders.Add(place);
        });
    }

    static string Back(string path, Node node) { return path.TrimEnd('\\') + "\\" + Place.Name(node.Place); }

    public static string[] GetFiles(string path) { return GetFiles(path, "*"); }

    public static string[] GetFiles(string path, string pattern) {
        Here.Look("folder.list", path, code => Win.OfFile(code, path));
        string place = Place.Of(path);
        if (!Here.W.Folders.Contains(place)) throw Win.OfFile(3, path);
        return Here.W.Files.Values.Where(node => Place.Parent(node.Place).Equals(place, StringComparison.OrdinalIgnoreCase) && (pattern == "*" || node.Place.EndsWith(pattern.TrimStart('*'), StringComparison.OrdinalIgnoreCase)))
            .Select(node => Back(path, node)).ToArray();
    }
}

public class Folder {
    readonly string path;
    public Folder(string path) { this.path = path; }
    public bool Exists { get { return Directory.Exists(path); } }
    public FileInfo[] GetFiles() { return Directory.GetFiles(path).Select(item => new FileInfo(item)).ToArray(); }
}

public class FileInfo {
    readonly string path;
    public FileInfo(string path) { this.path = path; }
    Node Node { get { return Place.Find(path); } }
    public string Name { get { return Place.Name(path); } }
    public Folder Directory { get { return new Folder(Place.Parent(path)); } }
    public bool Exists { get { return File.Exists(path); } }
    public long Length { get { return Node.Bytes.Length; } }
    public DateTime LastWriteTimeUtc { get { return File.GetLastWriteTimeUtc(path); } }
    public bool IsReadOnly { get { return Node.ReadOnly; } }
}

public class DriveInfo {
    public DriveInfo(string path) { }
    public string DriveFormat { get { return Here.W.Fat ? "FAT" : "NTFS"; } }
}

// Access rights are as asked for: who may do what is no part of this model.
public class Account { public string Value { get { return "S-1-5-32-544"; } } }

public class Rights {
    public void SetSecurityDescriptorSddlForm(string text, object sections) { }
    public Account GetOwner(Type type) { return new Account(); }
    public object[] GetAccessRules(bool own, bool inherited, Type type) { return new object[0]; }
}

// ---- scenarios ------------------------------------------------------------------------------------------------------

public static class Theatre {
    static TextWriter result;

    // Plays what each line of a file says, and writes a line for each end that it comes to.
    public static void Play(string from, string to) {
        using (var reader = new StreamReader(from))
        using (result = new StreamWriter(to) { NewLine = "\n" }) {
            string line;
            while ((line = reader.ReadLine()) != null) {
                var family = JsonNode.Parse(line).AsObject();
                if (family["seams"] != null) { Load(family); continue; }
                var world = Build(family["world"].AsObject());
                Here.W = world;
                Go(world, family, family["steps"].AsArray(), 0, new JsonArray(), new JsonArray());
                result.Flush();
            }
            result.WriteLine("{\"end\":true}");
        }
    }

    static void Load(JsonObject setting) {
        Here.Seams.Clear();
        foreach (var seam in setting["seams"].AsArray()) Here.Seams.Add(new[] { (string)seam[0], (string)seam[1] });
        Here.Scripts.Clear();
        foreach (var item in setting["scripts"].AsObject()) Here.Scripts[item.Key] = ScriptBlock.Create((string)item.Value);
    }

    static World Build(JsonObject given) {
        var world = new World { Remote = Flag(given, "remote"), Fat = Flag(given, "fat"), NoCim = Flag(given, "no_cim"), Talk = Flag(given, "talk") };
        foreach (var folder in new[] { "C:\\WINNT\\System32\\WindowsPowerShell\\v1.0", "C:\\exchsrvr\\bin", "C:\\other" }) {
            foreach (var machine in new[] { "EXCH1|", "ADMIN1|" }) {
                for (string place = machine + folder; place.Contains('\\'); place = Place.Parent(place)) world.Folders.Add(place);
                world.Folders.Add(machine + "C:");
            }
        }
        foreach (var machine in new[] { "EXCH1|", "ADMIN1|" }) world.Make(machine + Machine.PSHome + "\\powershell.exe", new byte[0]);
        world.Keys["SOFTWARE"] = new Key();
        var windows = world.Keys["SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion"] = new Key();
        windows.Values["SystemRoot"] = Machine.SystemRoot;
        foreach (var item in (given["files"] ?? new JsonObject()).AsObject()) {
            var node = world.Make("EXCH1|" + item.Key, Encoding.Latin1.GetBytes((string)item.Value["text"]));
            node.ReadOnly = Flag(item.Value.AsObject(), "read_only");
        }
        foreach (var item in (given["values"] ?? new JsonObject()).AsObject()) {
            int at = item.Key.LastIndexOf('\\');
            Key key;
            if (!world.Keys.TryGetValue(item.Key.Substring(0, at), out key)) key = world.Keys[item.Key.Substring(0, at)] = new Key();
            key.Values[item.Key.Substring(at + 1)] = item.Value is JsonArray ? (object)item.Value.AsArray().Select(part => (string)part).ToArray() : (string)item.Value;
        }
        world.Keys["SYSTEM\\CurrentControlSet\\Services"] = new Key();
        foreach (var item in (given["services"] ?? new JsonArray()).AsArray()) {
            var made = item.AsObject();
            var service = new Service {
                Name = (string)made["name"], State = (string)made["state"] ?? "running", Start = (int?)made["start_type"] ?? 2,
                Deps = (made["depends_on"] ?? new JsonArray()).AsArray().Select(part => (string)part).ToArray(),
                Stops = Of(made["stop"]), Starts = Of(made["start"]),
            };
            service.Image = "C:\\exchsrvr\\bin\\" + service.Name + ".exe";
            if (made["section"] != null) service.Section = "EXCH1|" + (string)made["section"];
            if (service.State == "running") service.Pid = 1000 + ++world.Count;
            service.Since = world.Now - 86400000;
            world.Services[service.Name] = service;
            var key = world.Keys[Here.ServiceKey(service.Name)] = new Key();
            key.Values["ImagePath"] = service.Image;
            key.Values["Start"] = service.Start;
            key.Values["Type"] = 16;
            if (service.Deps.Length > 0) key.Values["DependOnService"] = service.Deps;
        }
        foreach (var item in (given["faults"] ?? new JsonArray()).AsArray()) {
            var made = item.AsObject();
            world.Faults.Add(new Fault {
                Kind = (string)made["kind"], Name = (string)made["of"], What = (string)made["do"], Skip = (int?)made["skip"] ?? 0,
                Times = (int?)made["times"] ?? 1, Code = (int?)made["code"] ?? 0, Took = Flag(made, "took"), More = made,
            });
        }
        return world;
    }

    static bool Flag(JsonObject of, string name) { return of[name] != null && (bool)of[name]; }

    static Manner Of(JsonNode given) {
        var manner = new Manner();
        if (given == null) return manner;
        manner.Kind = (string)given["kind"];
        manner.Ms = (long?)given["ms"] ?? 100;
        manner.Code = (int?)given["code"] ?? 0;
        manner.Took = Flag(given.AsObject(), "took");
        manner.Times = (int?)given["times"] ?? -1;
        return manner;
    }

    // One step after the other. A step whose process may be cut goes on from each copy that was made meanwhile.
    static void Go(World world, JsonObject family, JsonArray steps, int at, JsonArray trail, JsonArray cuts) {
        if (at == steps.Count) {
            var branches = family["then"].AsArray();
            if (steps != family["steps"]) { End(world, family, trail, cuts); return; }
            for (int i = 0; i < branches.Count; i++) {
                var longer = Copy(cuts);
                longer.Add(i);
                Go(world.Copy(), family, branches[i].AsArray(), 0, Copy(trail), longer);
            }
            return;
        }
        var step = steps[at].AsObject();
        var every = step["cuts"];
        Here.W = world;
        Here.Recording = every != null;
        Here.Snapshots = new List<Snapshot>();
        if (Here.Recording) Here.Snapshots.Add(new Snapshot { World = world.Copy(), Site = "begin", Index = 0 });
        int before = world.Effects;
        var said = Do(world, step);
        var snapshots = Here.Snapshots;
        Here.Recording = false;
        int branch = 0;
        foreach (var snapshot in snapshots) {
            int number = branch++;
            if (!Chosen(every.AsObject(), number)) continue;
            foreach (bool alone in snapshot.World.Waiting.Count > 0 ? new[] { true, false } : new[] { false }) {
                var dead = snapshot.World.Copy();
                dead.EndProcesses();
                Here.W = dead;
                // What it had started goes on without it, or dies with it.
                if (alone) Here.RunWaiting();
                dead.Waiting.Clear();
                var longer = Copy(trail);
                var stopped = State(dead, step);
                stopped["cut"] = snapshot.Site;
                longer.Add(stopped);
                var path = Copy(cuts);
                path.Add((alone ? "alone " : "") + number + " " + snapshot.Site);
                Go(dead, family, steps, at + 1, longer, path);
            }
        }
        if (every != null && !Chosen(every.AsObject(), -1)) return;
        trail.Add(said);
        if (every != null) { cuts = Copy(cuts); cuts.Add("-"); }
        Go(world, family, steps, at + 1, trail, cuts);
    }

    static bool Chosen(JsonObject every, int number) {
        if (every["only"] != null) return (int)every["only"] == number;
        int of = (int?)every["of"] ?? 1, from = (int?)every["from"] ?? 0;
        return number < 0 || number % of == from % of;
    }

    static JsonArray Copy(JsonArray of) { return of.DeepClone().AsArray(); }

    static JsonObject Do(World world, JsonObject step) {
        string answer = null;
        switch ((string)step["do"]) {
            case "request": answer = Ask((string)step["script"], step["request"].ToJsonString()); break;
            case "again": answer = Again(world, step); break;
            case "wait": world.Advance((long)((double)step["s"] * 1000)); break;
            case "boot": world.EndProcesses(); world.Boot(); break;
            case "heal": world.Faults.Clear(); break;
            default: world.Do((string)step["do"], (string)step["name"], step); break;
        }
        var said = State(world, step);
        if (answer != null) said["answer"] = answer;
        return said;
    }

    static string Ask(string script, string request) {
        var parsed = JsonNode.Parse(request);
        Here.Run = (string)parsed["run"];
        string text = new JsonObject { ["script"] = script, ["request"] = parsed }.ToJsonString();
        var given = Json.Read(request);
        string answer = Here.Execute(Here.Scripts[script], given, text, "0123456789abcdef", null);
        Here.RunWaiting();
        return answer;
    }

    // The controller looks at the files, and asks for the same with the hashes that it found.
    static string Again(World world, JsonObject step) {
        var request = step["request"].DeepClone().AsObject();
        foreach (var file in request["files"].AsArray()) {
            Node node;
            file["expect_sha256"] = world.Files.TryGetValue("EXCH1|" + (string)file["path"], out node) && !node.Dying ? Here.Hash(node.Bytes) : null;
        }
        return Ask((string)step["script"], request.ToJsonString());
    }

    static JsonObject State(World world, JsonObject step) {
        var services = new JsonObject();
        foreach (var service in world.Services.Values) services[service.Name] = service.State;
        Key key;
        world.Keys.TryGetValue("SOFTWARE\\msexchange.winsock_proxy", out key);
        object journal = null;
        if (key != null) key.Values.TryGetValue("journal", out journal);
        return new JsonObject { ["do"] = (string)step["do"], ["at"] = world.Now - World.Epoch, ["services"] = services, ["journal"] = (string)journal, ["calls"] = world.Calls };
    }

    static void End(World world, JsonObject family, JsonArray trail, JsonArray cuts) {
        var files = new JsonObject();
        foreach (var node in world.Files.Values.Where(item => !item.Dying && !item.Place.EndsWith(".exe"))) files[node.Place] = Encoding.Latin1.GetString(node.Bytes);
        var records = new JsonObject();
        foreach (var item in world.Keys.Where(item => item.Key.StartsWith("SOFTWARE\\msexchange.winsock_proxy\\records\\", StringComparison.OrdinalIgnoreCase))) {
            var record = new JsonObject();
            foreach (var value in item.Value.Values) record[value.Key] = Convert.ToString(value.Value);
            records[item.Key.Substring(item.Key.LastIndexOf('\\') + 1)] = record;
        }
        var processes = new JsonObject();
        foreach (var service in world.Services.Values.Where(item => item.Pid != 0)) processes[service.Name] = service.Pid + "@" + (service.Since / 1000.0).ToString("0.000", System.Globalization.CultureInfo.InvariantCulture);
        result.WriteLine(new JsonObject {
            ["id"] = (string)family["id"], ["act"] = (int?)family["act"] ?? 0, ["cuts"] = cuts, ["trail"] = trail, ["files"] = files, ["records"] = records, ["processes"] = processes,
            ["log"] = new JsonArray(world.Log.Select(line => line.DeepClone()).ToArray()), ["held"] = world.Handles.Count(item => item.Owner >= 0),
        }.ToJsonString());
    }
}
}
