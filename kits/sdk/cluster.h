#pragma once
// What a kit asks of the cluster around its instance: commands, other nodes, the hierarchy. Blocking.

#include "base/result.h"
#include "base/types.h"
#include "kits/sdk/kit.h"

#include <map>
#include <string>
#include <vector>

namespace understudy::kits {

/// Runs one of the commands; its standard output. Errors: the command's exit code and text.
Result<std::string> command(const config::Layout& layout, const std::string& name,
                            const std::vector<std::string>& words);

/// Runs a shell line on another node as lcdremexec does (current directory: its $LKROOT); its standard
/// output. Errors: it did not end with 0 (the text is its standard error), the node is not reachable.
Result<std::string> on_node(const config::Layout& layout, const NodeName& node, const std::string& line);

/// Copies a file to a path on another node as lcdrcp does (relative: below its $LKROOT).
Result<> copy_to_node(const std::string& file, const NodeName& node, const std::string& path);

/// A word as a shell on another node reads it back.
std::string shell_quoted(const std::string& word);

struct Peer {
    NodeName node;
    Tag tag;  // there
};
/// The other nodes that have this resource, by its equivalencies.
Result<std::vector<Peer>> peers_of(const Instance& instance);

using Words = std::map<std::string, std::string>;

/// The key=value arguments; other arguments are left out.
Result<Words> words_of_arguments(const Instance& instance);
/// Code::bad_argument naming the words that are not among `known`.
Result<> check_words(const Words& words, const std::vector<std::string>& known);
/// What create is asked for: the information of an instance that is there already, as the hierarchy commands
/// define it first, and the arguments, which win.
Result<Words> create_words(const Instance& instance);
std::string word(const Words& words, const std::string& key, const std::string& otherwise = {});

/// A value of an info field as parse_info reads it back. Errors: it holds a quote.
Result<std::string> info_word(const std::string& key, const std::string& value);

struct NewInstance {
    std::string app;
    std::string type;
    std::string id;  // empty: the instance's, else the tag
    std::string info;
    bool quick_check = true;
    bool deep_check = true;
    bool local_recovery = true;
};
/// Creates the instance of a create or extend action on this node, or makes the one that is there be as
/// wanted: information, no interval for checks it has not, local recovery. Spec: KIT-175, CLU-163.
Result<> define_instance(const Instance& instance, const NewInstance& wanted);

/// What canextend and extend copy from. They are called with NODE TAG [INFO] (the template's node, its tag
/// there, the information for here), or with template=NODE, or with nothing: then it is the first system that
/// answers and has a resource with this tag.
struct Template {
    NodeName node;
    Tag tag;
    ResourceId id;
    std::string info;  // there
};
Result<Template> template_of(const Instance& instance);
/// The information that the resource is to have here, as words: the instance's, else the third argument, else
/// the template's; key=value arguments win.
Result<Words> extension_words(const Instance& instance, const Template& from);

}  // namespace understudy::kits
