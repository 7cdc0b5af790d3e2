// Build tool: writes the source of one command's man page. man_pages NAME PROSE-FILE OUTPUT-FILE

#include "cli/man_page.h"

#include <cstdio>
#include <fstream>
#include <iterator>

int main(int argc, char** argv) {
    using namespace understudy;
    if (argc != 4) {
        std::fputs("usage: man_pages NAME PROSE-FILE OUTPUT-FILE\n", stderr);
        return static_cast<int>(Code::syntax);
    }
    std::ifstream in(argv[2]);
    const std::string prose{std::istreambuf_iterator<char>(in), {}};
    for (const auto& spec : cli::command_table()) {
        if (cli::page_name(spec) != argv[1]) continue;
        const auto page = cli::man_page(spec, prose);
        if (!page) {
            std::fprintf(stderr, "%s: %s\n", argv[2], page.error().text.c_str());
            return static_cast<int>(page.error().code);
        }
        std::ofstream(argv[3]) << *page;
        return 0;
    }
    std::fprintf(stderr, "%s: there is no command %s\n", argv[2], argv[1]);
    return static_cast<int>(Code::not_found);
}
