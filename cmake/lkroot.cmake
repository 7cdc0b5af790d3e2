# $LKROOT as the manual lays it out, in the build tree as on a host. What changes at run time lies in the state and log
# directories; scripts find it under the names they know. Links are relative, so that every root is complete.
# Spec: CMD-018, CLU-083.
set(UNDERSTUDY_LKROOT ${CMAKE_BINARY_DIR}/lkroot)
foreach(directory admin/bin admin/core/actions admin/kit etc events include subsys support)
  file(MAKE_DIRECTORY ${UNDERSTUDY_LKROOT}/${directory})
endforeach()
file(CREATE_LINK ../../../var/lib/understudy ${UNDERSTUDY_LKROOT}/config SYMBOLIC)
file(CREATE_LINK ../../../var/log/understudy ${UNDERSTUDY_LKROOT}/out SYMBOLIC)
file(CREATE_LINK ../../../../etc/default ${UNDERSTUDY_LKROOT}/etc/default SYMBOLIC)
foreach(program getlocks rlslocks)  # Spec: CMD-100
  file(CREATE_LINK ../../bin/${program} ${UNDERSTUDY_LKROOT}/admin/bin/${program} SYMBOLIC)
endforeach()
foreach(script lksupport cleanupmirror dkhealthcheck dksupport firewall-setup)
  configure_file(packaging/support/${script} ${UNDERSTUDY_LKROOT}/support/${script} COPYONLY)
endforeach()
file(CREATE_LINK lksupport ${UNDERSTUDY_LKROOT}/support/LKSUPPORT SYMBOLIC)  # Spec: CMD-139
